//! JSON by `serde_json`. Its raw values are slices of the text, so their addresses tell the lines; the strictness,
//! escapes and messages are serde_json's own. Must never accept what serde_json does not.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::node::{Entry, Node, Value};
use super::{Flaw, Lines, MAX_DEPTH, column_at, insert, too_deep};

pub(super) fn read(text: &str) -> Result<Node, Flaw> {
    if text.trim().is_empty() {
        return Ok(Node { line: 1, value: Value::Null });
    }
    let root: &RawValue = serde_json::from_str(text).map_err(|error| {
        // The same text read as a value has the better message, such as "trailing comma".
        let error = serde_json::from_str::<serde_json::Value>(text).err().unwrap_or(error);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let (line, column) = (error.line() as u32, error.column());
        Flaw { line, message: format!("not valid JSON: {message} (column {column})") }
    })?;
    Reader { text, lines: Lines::of(text) }.node(root, 0)
}

struct Reader<'t> {
    text: &'t str,
    lines: Lines,
}

/// The members of an object as they stand in the text.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'t> Reader<'t> {
    fn node(&self, raw: &'t RawValue, depth: usize) -> Result<Node, Flaw> {
        let line = self.lines.at(self.offset(raw));
        if depth > MAX_DEPTH {
            return Err(too_deep(line));
        }
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => Value::Map(self.members(raw, depth)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = self.parse(raw)?;
                Value::List(items.into_iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(self.parse(raw)?),
            Some(b't' | b'f') => Value::Bool(self.parse(raw)?),
            Some(b'n') => Value::Null,
            _ => match raw.get().parse() {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Float(self.parse(raw)?),
            },
        };
        Ok(Node { line, value })
    }

    fn members(&self, raw: &'t RawValue, depth: usize) -> Result<Vec<Entry>, Flaw> {
        let Members(members) = self.parse(raw)?;
        let mut entries = Vec::with_capacity(members.len());
        for (key, value) in members {
            let line = self.lines.at(self.offset(key));
            insert(&mut entries, Entry { key: self.parse(key)?, line, node: self.node(value, depth + 1)? })?;
        }
        Ok(entries)
    }

    /// Where a raw value starts: it borrows from the text.
    fn offset(&self, raw: &RawValue) -> usize {
        raw.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }

    fn parse<T: Deserialize<'t>>(&self, raw: &'t RawValue) -> Result<T, Flaw> {
        serde_json::from_str(raw.get()).map_err(|error| {
            let offset = self.offset(raw);
            let line = self.lines.at(offset);
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Flaw { line, message: format!("not valid JSON: {message} (column {})", column_at(self.text, offset)) }
        })
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
