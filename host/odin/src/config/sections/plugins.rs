//! Reads of a plugin what is more than one value by itself.
//! Must never load a file: it looks whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::super::check::References;
use super::super::decoder::Field;
use super::super::readers::{self, parsed};
use super::super::schema::{Breaker, Grant, Plugin};
use super::super::shapes::{self, Shape, described};
use super::super::units;

/// The plugin of this name.
pub(super) fn plugin(name: &str, field: Field<'_>, references: &mut References) -> Option<Plugin> {
    let mut space = None;
    let plugin: Plugin = field.section_after(references, |table| space = table.peek("shared-space"))?;
    if let (Some(field), Some(space)) = (space, &plugin.shared_space) {
        references.spaces.join(space, name, plugin.shared_size, &field);
    }
    Some(plugin)
}

/// A file that is there.
pub(in super::super) fn wasm_file() -> Shape<PathBuf> {
    Shape::new(
        || super::file().describe(),
        |field, _| {
            let written = field.report.resolve(&field.read(readers::text)?);
            match std::fs::metadata(&written) {
                Ok(found) if found.is_file() => {}
                Ok(_) => field.fail(&format!("{} is not a file; name a .wasm file", written.display())),
                Err(error) => {
                    let help = "the path is relative to the folder of the config file";
                    field.fail(&format!("cannot read {}: {error}; {help}", written.display()));
                }
            }
            super::path(&field)
        },
    )
}

/// Anything that JSON has.
pub(in super::super) fn settings() -> Shape<Json> {
    Shape::new(
        || described(json!({}), "anything"),
        |field, _| {
            let told = |(line, message)| field.report.about(line, &field.path, message);
            field.node.to_json().map_err(told).ok()
        },
    )
}

pub(in super::super) fn grants() -> Shape<BTreeSet<Grant>> {
    let form = || shapes::list("grants", shapes::choice::<Grant>()).describe();
    Shape::new(form, |field, _| {
        let grant = parsed(r#"a grant such as "log""#, Grant::parse);
        Some(field.distinct("grants", |field| field.read(&grant)).into_iter().collect())
    })
}

pub(in super::super) fn breaker(field: Field<'_>, references: &mut References) -> Option<Breaker> {
    let mut blamed = None;
    let breaker: Breaker = field.section_after(references, |table| {
        blamed = table.peek("pause").or_else(|| table.peek("max-pause"));
        table.gone(
            "failures",
            "failures in a row are not counted any more; write which share of how many calls, as \
             `percent = 50, calls = 20`, or `percent = 0` for never",
        );
    })?;
    if let Some(field) = blamed.filter(|_| breaker.pause > breaker.max_pause) {
        let (pause, max_pause) = (units::format_duration(breaker.pause), units::format_duration(breaker.max_pause));
        field.fail(&format!("a `pause` of {pause} is longer than `max-pause`, {max_pause}; change one"));
    }
    Some(breaker)
}

/// The common spaces by name: how large each is, and which plugin said so first.
#[derive(Default)]
pub(in super::super) struct Spaces(BTreeMap<String, (u64, String)>);

impl Spaces {
    /// A space has one size, whichever plugin is loaded first.
    fn join(&mut self, space: &str, plugin: &str, size: u64, field: &Field<'_>) {
        let (first, other) = self.0.entry(space.to_owned()).or_insert_with(|| (size, plugin.to_owned()));
        if *first != size {
            let (first, size) = (units::format_size(*first), units::format_size(size));
            field.fail(&format!(
                "the plugin `{other}` gives this space a `shared-size` of {first}, this one {size}; give both the same"
            ));
        }
    }
}
