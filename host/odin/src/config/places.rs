//! Where the sections of a config stand in its file: for errors that show only when a section is put to use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::Place;

/// What a section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Listener,
    Cluster,
    Plugin,
    Acme,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Listener => "listener",
            Kind::Cluster => "cluster",
            Kind::Plugin => "plugin",
            Kind::Acme => "acme",
        })
    }
}

/// A section that an error is about: given to the error as its context. `Display`: `listener "web"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Section(Kind, String);

impl Section {
    pub(crate) fn new(kind: Kind, name: &str) -> Self {
        Section(kind, name.to_owned())
    }

    /// Its name, if it is of this kind.
    pub(super) fn name(&self, kind: Kind) -> Option<&str> {
        (self.0 == kind).then_some(&self.1)
    }

    pub(crate) fn listener(name: &str) -> Self {
        Section::new(Kind::Listener, name)
    }

    pub(crate) fn cluster(name: &str) -> Self {
        Section::new(Kind::Cluster, name)
    }

    pub(crate) fn plugin(name: &str) -> Self {
        Section::new(Kind::Plugin, name)
    }

    pub(crate) fn acme(name: &str) -> Self {
        Section::new(Kind::Acme, name)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.0, self.1)
    }
}

/// The line of each section. Empty when flags made the config.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    file: PathBuf,
    lines: BTreeMap<Section, u32>,
}

impl Places {
    pub(super) fn new(file: &Path, lines: BTreeMap<Section, u32>) -> Self {
        Places { file: file.to_owned(), lines }
    }

    /// The line on which a section begins.
    pub(crate) fn line(&self, section: &Section) -> Option<u32> {
        self.lines.get(section).copied()
    }

    /// Says first where the section is that the error is about, if it is about one.
    pub(crate) fn locate(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref().and_then(|section| self.line(section)) {
            Some(line) => error.context(Place::File { file: self.file.clone(), line: Some(line) }),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_told_with_the_line_of_its_section_however_deep_that_is() {
        let places = Places::new(Path::new("odin.toml"), BTreeMap::from([(Section::listener("web"), 7)]));
        let located = |error: anyhow::Error| format!("{:#}", places.locate(error));
        let error = || anyhow!("in use").context(Section::listener("web"));
        assert_eq!(located(error()), r#"odin.toml:7: listener "web": in use"#);
        assert_eq!(located(error().context("a reload")), r#"odin.toml:7: a reload: listener "web": in use"#);
        assert_eq!(located(anyhow!("x").context(Section::cluster("web"))), r#"cluster "web": x"#);
        assert_eq!(located(anyhow!("x")), "x");
    }
}
