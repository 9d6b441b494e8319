//! Collects the errors of one file and knows how to name a place in it. Must never decide what is an error.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Errors};
use super::syntax::Syntax;

/// The errors of one file, as they are found.
pub(super) struct Report {
    file: PathBuf,
    pub(super) syntax: Syntax,
    errors: RefCell<Vec<ConfigError>>,
}

impl Report {
    pub(super) fn new(file: &Path, syntax: Syntax) -> Self {
        Report { file: file.to_owned(), syntax, errors: RefCell::default() }
    }

    /// Notes one error at a line; `key` is the path of the key to blame.
    pub(super) fn error(&self, line: u32, key: &KeyPath, message: impl Into<String>) {
        let error = ConfigError::in_file(&self.file, Some(line), key.to_string(), message);
        self.errors.borrow_mut().push(error);
    }

    /// Notes one error about the value of a key: the message starts with the key and its table.
    pub(super) fn about(&self, line: u32, key: &KeyPath, message: impl fmt::Display) {
        self.error(line, key, format!("{}: {message}", key.label(self.syntax)));
    }

    /// A path of the config as seen from the folder of the config file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// How many errors there are so far.
    pub(super) fn len(&self) -> usize {
        self.errors.borrow().len()
    }

    pub(super) fn finish(self) -> Result<(), Errors> {
        Errors::of(self.errors.into_inner()).map_or(Ok(()), Err)
    }
}

/// Where in the tree a value is. `Display`: `listeners[0].address`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        KeyPath(steps)
    }

    /// The table at this path as its file writes it: `[[listeners]]`, `[clusters.web]` in TOML, `listeners[0]` else.
    pub(super) fn heading(&self, syntax: Syntax) -> String {
        if self.0.is_empty() {
            return "the top level".to_owned();
        }
        // Endpoints are written inline, so they have no heading of their own.
        let inline = self.0.contains(&Step::Key("endpoints".to_owned()));
        if syntax != Syntax::Toml || inline {
            return self.to_string();
        }
        let keys: Vec<_> = self.0.iter().filter_map(Step::as_key).map(quoted).collect();
        match self.0.last() {
            Some(Step::Index(_)) => format!("[[{}]]", keys.join(".")),
            _ => format!("[{}]", keys.join(".")),
        }
    }

    /// The value at this path: `` `address` in [[listeners]] ``, `` `endpoints[1]` in [clusters.web] ``.
    fn label(&self, syntax: Syntax) -> String {
        let name_steps = match self.0.last() {
            Some(Step::Index(_)) => 2.min(self.0.len()),
            _ => 1.min(self.0.len()),
        };
        let (parent, name) = self.0.split_at(self.0.len() - name_steps);
        let (parent, name) = (KeyPath(parent.to_vec()), KeyPath(name.to_vec()));
        match parent.0.is_empty() {
            true => format!("`{name}`"),
            false => format!("`{name}` in {}", parent.heading(syntax)),
        }
    }
}

impl Step {
    fn as_key(&self) -> Option<&str> {
        match self {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }
}

/// A key as a path shows it: one with dots or spaces in quotes.
fn quoted(key: &str) -> Cow<'_, str> {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if bare { Cow::Borrowed(key) } else { Cow::Owned(format!("{key:?}")) }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(&quoted(key))?,
                Step::Key(key) => write!(f, ".{}", quoted(key))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
