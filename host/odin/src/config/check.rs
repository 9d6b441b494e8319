//! Names that point at other parts of the config: remembered while the file is read, checked when all of it is known.
//! Must never resolve anything but names.

use std::collections::BTreeMap;
use std::fmt;

use super::decoder::Field;
use super::nearest::did_you_mean;
use super::readers;
use super::report::{KeyPath, Report};

/// What a name may stand for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Cluster,
    Plugin,
}

impl Kind {
    /// The table in which it is defined.
    fn table(self) -> &'static str {
        match self {
            Kind::Cluster => "clusters",
            Kind::Plugin => "plugins",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Cluster => "cluster",
            Kind::Plugin => "plugin",
        })
    }
}

/// All names that are defined, and all that are used.
#[derive(Default)]
pub(super) struct References {
    /// With the line of each.
    defined: BTreeMap<(Kind, String), u32>,
    used: Vec<(Kind, String, u32, KeyPath)>,
}

impl References {
    /// A name is defined, even if its definition has errors: those are told by themselves.
    pub(super) fn define(&mut self, kind: Kind, name: &str, line: u32) {
        self.defined.insert((kind, name.to_owned()), line);
    }

    /// The line on which each name of a kind is defined.
    pub(super) fn lines(&self, kind: Kind) -> BTreeMap<String, u32> {
        let of_kind = self.defined.iter().filter(|((other, _), _)| *other == kind);
        of_kind.map(|((_, name), line)| (name.clone(), *line)).collect()
    }

    /// Reads a name that must turn out to be defined somewhere in the file.
    pub(super) fn read(&mut self, kind: Kind, field: &Field<'_>) -> Option<String> {
        let name = field.read(readers::text)?;
        self.used.push((kind, name.clone(), field.node.line, field.path.clone()));
        Some(name)
    }

    /// Reports every name that is used and not defined.
    pub(super) fn check(&self, report: &Report) {
        for (kind, name, line, path) in &self.used {
            if self.defined.contains_key(&(*kind, name.clone())) {
                continue;
            }
            let names = || self.defined.keys().filter(|(other, _)| other == kind).map(|(_, name)| name.as_str());
            let listed = names().collect::<Vec<_>>().join(", ");
            let help = match did_you_mean(name, names()) {
                near if !near.is_empty() => format!("{near} (defined: {listed})"),
                _ if listed.is_empty() => {
                    let place = KeyPath::default().key(kind.table()).key(name).heading(report.syntax);
                    format!("; define it as {place}")
                }
                _ => format!("; defined: {listed}"),
            };
            report.about(*line, path, format!("no {kind} is named `{name}`{help}"));
        }
    }
}
