//! Names that point at other parts of the config: remembered while the file is read, checked when all of it is known.
//! Must never resolve anything but names.

use std::collections::BTreeMap;
use std::path::Path;

use super::decoder::Field;
use super::listeners::PlacedListener;
use super::nearest::did_you_mean;
use super::places::{Kind, Places, Section};
use super::readers;
use super::report::{KeyPath, Report};
use super::sections::Spaces;

/// All names that are defined, and all that are used; and what must fit together with others of its kind.
#[derive(Default)]
pub(super) struct References {
    /// With the line of each.
    defined: BTreeMap<Section, u32>,
    used: Vec<(Kind, String, u32, KeyPath)>,
    /// In the order of the file.
    pub(super) listeners: Vec<PlacedListener>,
    pub(super) spaces: Spaces,
}

impl References {
    /// A name is defined, even if its definition has errors: those are told by themselves.
    pub(super) fn define(&mut self, kind: Kind, name: &str, line: u32) {
        self.defined.insert(Section::new(kind, name), line);
    }

    /// Where everything is that the file defines.
    pub(super) fn places(self, file: &Path) -> Places {
        Places::new(file, self.defined)
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
            if self.defined.contains_key(&Section::new(*kind, name)) {
                continue;
            }
            let names = || self.defined.keys().filter_map(|section| section.name(*kind));
            let listed = names().collect::<Vec<_>>().join(", ");
            let help = match did_you_mean(name, names()) {
                near if !near.is_empty() => format!("{near} (defined: {listed})"),
                _ if listed.is_empty() => {
                    let table = if *kind == Kind::Acme { kind.to_string() } else { format!("{kind}s") };
                    let place = KeyPath::default().key(&table).key(name).heading(report.syntax);
                    format!("; define it as {place}")
                }
                _ => format!("; defined: {listed}"),
            };
            report.about(*line, path, format!("no {kind} is named `{name}`{help}"));
        }
    }
}
