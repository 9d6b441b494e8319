//! The three syntaxes. Each reader turns text into the same [`Node`] tree, with the line of every key and value.
//! Must never know the schema, and never let two equal keys of one table through.

mod json;
mod toml;
mod yaml;

use std::path::Path;

use super::error::{ConfigError, Errors};
use super::node::{Entry, Node, Value};

/// How deeply values may be nested. A config needs five levels; the rest is for plugins.
const MAX_DEPTH: usize = 64;

/// How a config file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// By the file's ending.
    pub(super) fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Syntax::Toml),
            "yaml" | "yml" => Some(Syntax::Yaml),
            "json" => Some(Syntax::Json),
            _ => None,
        }
    }
}

/// A place in the text that is not good syntax, or not a plain tree.
#[derive(Debug)]
struct Flaw {
    line: u32,
    message: String,
}

/// Reads a text as a tree, whose root is a table or nothing.
pub(super) fn read(text: &str, syntax: Syntax, file: &Path) -> Result<Node, Errors> {
    let root = match syntax {
        Syntax::Toml => toml::read(text),
        Syntax::Yaml => yaml::read(text).map_err(|flaw| vec![flaw]),
        Syntax::Json => json::read(text).map_err(|flaw| vec![flaw]),
    };
    let flaws = match root {
        Ok(root) if matches!(root.value, Value::Map(_) | Value::Null) => return Ok(root),
        Ok(root) => {
            let message = format!("expected a table of settings, found {}", root.value.described());
            vec![Flaw { line: root.line, message }]
        }
        Err(flaws) => flaws,
    };
    let error = |flaw: Flaw| ConfigError::in_file(file, Some(flaw.line), "", flaw.message);
    let errors = flaws.into_iter().map(error).collect();
    Err(Errors::of(errors).unwrap_or_else(|| ConfigError::in_file(file, None, "", "cannot be read").into()))
}

/// Tells lines (from 1) from byte offsets: the ends of all lines but the last.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: impl AsRef<[u8]>) -> Self {
        let bytes = text.as_ref().iter().enumerate();
        Lines(bytes.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect())
    }

    pub(super) fn at(&self, offset: usize) -> u32 {
        self.0.partition_point(|end| *end < offset) as u32 + 1
    }
}

/// The column (from 1, in characters) of a byte offset.
fn column_at(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    before[line_start..].chars().count() + 1
}

/// Adds a key to a map, unless it is there already.
fn insert(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), Flaw> {
    if let Some(first) = entries.iter().find(|other| other.key == entry.key) {
        let message = format!("key `{}` is already set on line {}; keep one of the two", entry.key, first.line);
        return Err(Flaw { line: entry.line, message });
    }
    entries.push(entry);
    Ok(())
}

fn too_deep(line: u32) -> Flaw {
    Flaw { line, message: format!("nested more than {MAX_DEPTH} levels deep; make it flatter") }
}
