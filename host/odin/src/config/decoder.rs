//! Takes a tree of values apart, key by key, and reports what does not fit. Must never stop at the first error:
//! whoever gets `None` goes on with the next key.

use super::check::References;
use super::nearest::{did_you_mean, nearest};
use super::node::{Entry, Node, Value};
use super::report::{KeyPath, Report};
use super::section::{self, Absent, Keyed};
use super::shapes::Shape;
use super::syntax::Syntax;

/// One value on its way to become a setting.
#[derive(Clone)]
pub(super) struct Field<'r> {
    pub(super) report: &'r Report,
    pub(super) path: KeyPath,
    pub(super) node: Node,
}

impl<'r> Field<'r> {
    /// The root of a file.
    pub(super) fn root(node: Node, report: &'r Report) -> Self {
        Field { report, path: KeyPath::default(), node }
    }

    /// Reports what is wrong with this value.
    pub(super) fn fail(&self, message: &str) {
        self.report.about(self.node.line, &self.path, message);
    }

    /// The value as `reader` (see `readers.rs`) understands it; what it refuses is reported.
    pub(super) fn read<T>(&self, reader: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        reader(&self.node.value).map_err(|message| self.fail(&message)).ok()
    }

    /// The value as a table of known keys. Nothing at all (an empty YAML section) is an empty table.
    pub(super) fn table(self) -> Option<Table<'r>> {
        let line = self.node.line;
        let entries = match self.node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            ref other => {
                self.fail(&format!("expected a table, found {}", other.described()));
                return None;
            }
        };
        Some(Table { report: self.report, path: self.path, line, entries, known: Vec::new(), missing: Vec::new() })
    }

    /// The value as a table with the keys of a section, and no others.
    pub(super) fn section<T: Keyed>(self, references: &mut References) -> Option<T> {
        self.section_after(references, |_| {})
    }

    /// The same, after a look at the table.
    pub(super) fn section_after<T: Keyed>(
        self,
        references: &mut References,
        look: impl FnOnce(&mut Table<'r>),
    ) -> Option<T> {
        let mut table = self.table()?;
        look(&mut table);
        let section = T::take(&mut table, references);
        table.deny_rest();
        section
    }

    /// The value as a table whose keys are names that the user chose.
    pub(super) fn named(self) -> Vec<(String, u32, Field<'r>)> {
        let Some(table) = self.table() else { return Vec::new() };
        let (report, path) = (table.report, table.path);
        let field = |entry: Entry| {
            let path = path.key(&entry.key);
            (entry.key, entry.line, Field { report, path, node: entry.node })
        };
        table.entries.into_iter().map(field).collect()
    }

    /// The value as a list. Nothing at all is an empty list.
    pub(super) fn list(self, of: &str) -> Option<Vec<Field<'r>>> {
        let items = match self.node.value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            ref other => {
                let heading = self.path.index(0).heading(self.report.syntax);
                let hint = match (other, self.report.syntax) {
                    (Value::Map(_), Syntax::Toml) => format!("; write {heading} with two brackets"),
                    (Value::Map(_), _) => "; write a list, even for one".to_owned(),
                    _ => String::new(),
                };
                self.fail(&format!("expected a list of {of}, found {}{hint}", other.described()));
                return None;
            }
        };
        let (report, path) = (self.report, self.path);
        let field = |(index, node)| Field { report, path: path.index(index), node };
        Some(items.into_iter().enumerate().map(field).collect())
    }

    /// The value as a list of texts that `read` understands; one that is in it already is an error.
    pub(super) fn distinct<T: PartialEq>(self, of: &str, mut read: impl FnMut(&Self) -> Option<T>) -> Vec<T> {
        let mut items = Vec::new();
        for field in self.list(of).unwrap_or_default() {
            match (read(&field), &field.node.value) {
                (Some(item), Value::Text(text)) if items.contains(&item) => {
                    field.fail(&format!("`{text}` is in the list already; remove one"));
                }
                (item, _) => items.extend(item),
            }
        }
        items
    }
}

/// A table whose keys are taken one by one; what is left at the end is unknown.
pub(super) struct Table<'r> {
    pub(super) report: &'r Report,
    pub(super) path: KeyPath,
    /// Where the table starts: the place of an error about a key that is not there.
    pub(super) line: u32,
    entries: Vec<Entry>,
    known: Vec<String>,
    /// Keys that must be there and are not, each with its message.
    missing: Vec<(String, String)>,
}

impl<'r> Table<'r> {
    /// Takes a key out, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<Field<'r>> {
        self.known.push(key.to_owned());
        let position = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(position);
        Some(Field { report: self.report, path: self.path.key(key), node: entry.node })
    }

    /// Takes and reads the key of a section's field. A wrong value is reported and replaced by the default.
    pub(super) fn key<T: 'static>(
        &mut self,
        field: &str,
        shape: &Shape<T>,
        absent: Absent<T>,
        references: &mut References,
    ) -> Option<T> {
        let key = section::name(field);
        match absent {
            Absent::Means(default) => {
                Some(self.take(&key).and_then(|field| shape.read(field, references)).unwrap_or(default))
            }
            Absent::Fails(hint) => self.require(&key, hint).and_then(|field| shape.read(field, references)),
        }
    }

    /// Looks at a key that is still to be taken.
    pub(super) fn peek(&self, key: &str) -> Option<Field<'r>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field { report: self.report, path: self.path.key(key), node: entry.node.clone() })
    }

    /// A key that does not go with another one is an error, and not read.
    pub(super) fn refuse(&mut self, key: &str, message: &str) {
        if let Some(position) = self.entries.iter().position(|entry| entry.key == key) {
            let line = self.entries.remove(position).node.line;
            self.report.about(line, &self.path.key(key), message);
        }
    }

    /// A key of an earlier version that is no more: an error with the way out, where it is written.
    pub(super) fn gone(&mut self, key: &str, instead: &str) {
        if let Some(position) = self.entries.iter().position(|entry| entry.key == key) {
            let line = self.entries.remove(position).line;
            let message = format!("`{key}`{} is no more: {instead}", self.inside());
            self.report.error(line, &self.path.key(key), message);
        }
    }

    /// Takes a key that must be there; `hint` goes on after "add it, ".
    pub(super) fn require(&mut self, key: &str, hint: &str) -> Option<Field<'r>> {
        let field = self.take(key);
        if field.is_none() {
            self.missing(key, format!("`{key}` is missing{}; add it, {hint}", self.inside()));
        }
        field
    }

    /// Reports at the table's line that `key` is not there, unless a mistyped key turns out to be it.
    pub(super) fn missing(&mut self, key: &str, message: String) {
        self.missing.push((key.to_owned(), message));
    }

    /// ` in [[listeners]]`, or ` at the top level`.
    pub(super) fn inside(&self) -> String {
        let heading = self.path.heading(self.report.syntax);
        let preposition = if self.path == KeyPath::default() { "at" } else { "in" };
        format!(" {preposition} {heading}")
    }

    /// Ends the table: every key that nobody took is an error.
    pub(super) fn deny_rest(self) {
        for (key, message) in &self.missing {
            let mistyped = |entry: &Entry| nearest(&entry.key, self.known.iter().map(String::as_str)) == Some(key);
            if !self.entries.iter().any(mistyped) {
                self.report.error(self.line, &self.path.key(key), message);
            }
        }
        let (inside, known) = (self.inside(), self.known.join(", "));
        for entry in &self.entries {
            let key = &entry.key;
            let help = match did_you_mean(key, self.known.iter().map(String::as_str)) {
                near if near.is_empty() => format!("; valid keys: {known}"),
                near => format!("{near} (valid keys: {known})"),
            };
            self.report.error(entry.line, &self.path.key(key), format!("unknown key `{key}`{inside}{help}"));
        }
    }
}
