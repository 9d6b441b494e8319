//! How much a component is, before anything compiles it: a few bytes can ask for millions of instances, since a component
//! may instantiate another one twice, and that one another.
//! Must never take long itself: it reads the sections once, and no function's body.

use wasmparser::{ComponentInstance, Instance, Parser, Payload};

use crate::error::LoadError;
use crate::words;

/// Instances of modules and components, those inside of instances counted each time. A pool of Odin holds 16 modules.
const MAX_INSTANCES: u64 = 1_000;
/// What is defined in components (types, aliases, imports, exports, instances, lifted and lowered functions), counted
/// once for each instance of its component. Plugins have some hundreds.
const MAX_ITEMS: u64 = 100_000;
/// Imports and exports of all modules and components. JavaScript in a component has some hundreds.
const MAX_NAMES: u64 = 20_000;
/// Types of core modules.
const MAX_CORE_TYPES: u64 = 50_000;
/// Functions of core modules. An engine for JavaScript has 25,000.
const MAX_FUNCTIONS: u64 = 200_000;

/// What a component wants and gives, by name.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// One module or component that is being read.
#[derive(Default)]
struct Level {
    is_component: bool,
    size: Size,
}

/// What one instance of a component amounts to.
#[derive(Clone, Copy, Default)]
struct Size {
    items: u64,
    instances: u64,
}

#[derive(Default)]
struct Scan {
    open: Vec<Level>,
    /// The most that an instance of any component so far amounts to. An instance can only be of one that is complete.
    most: Size,
    names: u64,
    core_types: u64,
    functions: u64,
    found: Scanned,
}

/// Reads a whole component. The error says what there is too much of.
pub(crate) fn scan(component: &[u8]) -> Result<Scanned, LoadError> {
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(component) {
        let taken = payload.and_then(|payload| scan.take(payload));
        taken.map_err(|error| LoadError::Invalid(words::one_line(&error.to_string())))?;
        scan.check()?;
    }
    Ok(scan.found)
}

impl Scan {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => {
                let is_component = encoding == wasmparser::Encoding::Component;
                self.open.push(Level { is_component, ..Level::default() });
            }
            Payload::End(_) => {
                if let Some(level) = self.open.pop().filter(|level| level.is_component) {
                    self.most.items = self.most.items.max(level.size.items);
                    self.most.instances = self.most.instances.max(level.size.instances);
                }
            }
            Payload::TypeSection(section) => self.core_types += u64::from(section.count()),
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::ImportSection(section) => self.names += u64::from(section.count()),
            Payload::ExportSection(section) => self.names += u64::from(section.count()),
            Payload::CoreTypeSection(section) => self.add_items(section.count()),
            Payload::ComponentTypeSection(section) => self.add_items(section.count()),
            Payload::ComponentAliasSection(section) => self.add_items(section.count()),
            Payload::ComponentCanonicalSection(section) => self.add_items(section.count()),
            Payload::ComponentImportSection(section) => {
                self.add_items(section.count());
                self.names += u64::from(section.count());
                if self.open.len() == 1 {
                    for import in section {
                        self.found.imports.push(import?.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                self.add_items(section.count());
                self.names += u64::from(section.count());
                if self.open.len() == 1 {
                    for export in section {
                        self.found.exports.push(export?.name.name.to_owned());
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    let of_module = matches!(instance?, Instance::Instantiate { .. });
                    self.add(Size { items: 1, instances: u64::from(of_module) });
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    let inner = match instance? {
                        ComponentInstance::Instantiate { .. } => self.most,
                        ComponentInstance::FromExports(_) => Size::default(),
                    };
                    self.add(Size { items: inner.items + 1, instances: inner.instances + 1 });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_items(&mut self, count: u32) {
        self.add(Size { items: count.into(), instances: 0 });
    }

    fn add(&mut self, more: Size) {
        if let Some(level) = self.open.last_mut() {
            level.size.items = level.size.items.saturating_add(more.items);
            level.size.instances = level.size.instances.saturating_add(more.instances);
        }
    }

    /// After each section, so that the counts stay small.
    fn check(&self) -> Result<(), LoadError> {
        let open = self.open.last().map(|level| level.size).unwrap_or_default();
        let counts = [
            (open.instances, MAX_INSTANCES, "instances, those inside of instances counted each time"),
            (open.items, MAX_ITEMS, "types, aliases and functions, counted once for each instance"),
            (self.names, MAX_NAMES, "imports and exports"),
            (self.core_types, MAX_CORE_TYPES, "types of modules"),
            (self.functions, MAX_FUNCTIONS, "functions"),
        ];
        match counts.into_iter().find(|(count, most, _)| count > most) {
            Some((count, most, what)) => {
                Err(LoadError::TooLarge(format!("it asks for {count} {what}; the most is {most}")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Result<Scanned, String> {
        scan(&wat::parse_str(text).unwrap()).map_err(|error| error.to_string())
    }

    /// `levels` components, each of which instantiates the one inside of it `times` times.
    fn nested(levels: usize, times: usize) -> String {
        let mut text = "(component $c0)".to_owned();
        for level in 1..=levels {
            let instances = format!("(instance (instantiate $c{}))", level - 1).repeat(times);
            text = format!("(component $c{level} {text} {instances})");
        }
        text
    }

    #[test]
    fn a_component_that_doubles_at_each_level_is_refused() {
        assert!(scanned(&nested(8, 2)).is_ok());
        let refused = scanned(&nested(16, 2)).unwrap_err();
        assert!(refused.contains("instances, those inside of instances"), "{refused}");
        // However deep, the counts do not overflow.
        assert!(scanned(&nested(90, 9)).is_err());
    }

    #[test]
    fn names_are_those_of_the_outermost_component() {
        let text = r#"(component
            (import "odin:plugin/log@0.1.0" (instance))
            (component (import "inner" (instance)) (export "hidden" (instance 0)))
            (export "out" (instance 0)))"#;
        let found = scanned(text).unwrap();
        assert_eq!((found.imports, found.exports), (vec!["odin:plugin/log@0.1.0".into()], vec!["out".into()]));
    }

    #[test]
    fn what_is_cut_short_is_invalid() {
        let whole = wat::parse_str(nested(2, 2)).unwrap();
        for end in 0..whole.len() {
            // It must answer; a section that ends well is no fault here.
            let _ = scan(&whole[..end]);
        }
        assert!(scan(&whole[..whole.len() - 1]).is_err());
    }
}
