//! A config file as a tree of values that know their lines: what every syntax becomes before it is decoded.
//! Must never know which keys there are.

/// A value and the line (from 1) on which it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

/// What the three syntaxes have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key = value`; keys of a map are unique, in the order of the file where the syntax keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key.
    pub(super) line: u32,
    pub(super) node: Node,
}

impl Value {
    /// What was found, for "expected …, found …".
    pub(super) fn described(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("{value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Value::Text(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
            Value::Text(_) => "a long text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a table".to_owned(),
        }
    }
}

impl Node {
    /// Nothing, or a list or table with nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// It is a table in which something stands under this key, whatever that is.
    pub(super) fn has(&self, key: &str) -> bool {
        let Value::Map(entries) = &self.value else { return false };
        entries.iter().any(|entry| entry.key == key && !entry.node.is_empty())
    }

    /// The tree as JSON, or the line and the reason of a value that JSON does not have.
    pub(super) fn to_json(&self) -> Result<serde_json::Value, (u32, String)> {
        use serde_json::{Number, Value as Json};
        Ok(match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Number::from_i128(*value)
                .map(Json::Number)
                .ok_or_else(|| (self.line, format!("the number {value} does not fit 64 bits; write it as text")))?,
            Value::Float(value) => Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| (self.line, format!("JSON has no number {value}; write it as text")))?,
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect::<Result<_, _>>()?),
            Value::Map(entries) => {
                let pair = |entry: &Entry| entry.node.to_json().map(|value| (entry.key.clone(), value));
                Json::Object(entries.iter().map(pair).collect::<Result<_, _>>()?)
            }
        })
    }
}
