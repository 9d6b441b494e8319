//! TOML by the `toml` crate, whose parser keeps spans and goes on after an error. Must never accept a text that
//! the parser had to repair.

use ::toml::de::{DeTable, DeValue};

use super::super::node::{Entry, Node, Value};
use super::{Flaw, Lines, column_at};

pub(super) fn read(text: &str) -> Result<Node, Vec<Flaw>> {
    let reader = Reader { lines: Lines::of(text) };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut flaws: Vec<Flaw> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let offset = span.start;
        let line = reader.lines.at(offset);
        // A second error on a line mostly follows from the first.
        if flaws.iter().all(|flaw| flaw.line != line) {
            let column = column_at(text, offset);
            let what = match (error.message(), text.get(span)) {
                (message @ "duplicate key", Some(key)) => format!("{message} `{key}`"),
                (message, _) => message.to_owned(),
            };
            flaws.push(Flaw { line, message: format!("not valid TOML: {what} (column {column})") });
        }
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let root = reader.table(1, root.get_ref(), &mut flaws);
    if flaws.is_empty() { Ok(root) } else { Err(flaws) }
}

struct Reader {
    lines: Lines,
}

impl Reader {
    fn table(&self, line: u32, table: &DeTable<'_>, flaws: &mut Vec<Flaw>) -> Node {
        let mut entries: Vec<Entry> = Vec::new();
        for (key, value) in table {
            let line = self.lines.at(key.span().start);
            let node = self.value(self.lines.at(value.span().start), value.get_ref(), flaws);
            entries.push(Entry { key: key.get_ref().to_string(), line, node });
        }
        // The parser sorts by key; people read from the top.
        entries.sort_by_key(|entry| entry.line);
        Node { line, value: Value::Map(entries) }
    }

    fn value(&self, line: u32, value: &DeValue<'_>, flaws: &mut Vec<Flaw>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Int(number),
                Err(_) => {
                    flaws.push(Flaw { line, message: format!("the number {number} is too large") });
                    Value::Null
                }
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    flaws.push(Flaw { line, message: format!("the number {number} cannot be read") });
                    Value::Null
                }
            },
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(date) => Value::Text(date.to_string()),
            DeValue::Array(items) => {
                let item = |item: &::toml::Spanned<DeValue<'_>>| {
                    self.value(self.lines.at(item.span().start), item.get_ref(), flaws)
                };
                Value::List(items.iter().map(item).collect())
            }
            DeValue::Table(table) => return self.table(line, table, flaws),
        };
        Node { line, value }
    }
}
