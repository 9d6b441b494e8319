//! What there is to say of every key, as JSON Schema, as an example and as a page of the docs. All of it is in the
//! sections: nothing here knows a key by name.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::fly;
use super::schema::Config;
use super::section::{KeyDoc, Keyed as _};
use super::shapes::{Inner, Layout};

/// How times and sizes are written: for all keys at once.
const UNITS: &str =
    "Times are a whole number and us, ms, s, m or h. Sizes are bytes, or a whole number and KiB, MiB or GiB.";
/// Comments of the example are broken here.
const WIDTH: usize = 110;

/// The schema of a table with these keys.
pub(super) fn table(keys: &[KeyDoc]) -> Json {
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name.as_str()).collect();
    let property = |key: &KeyDoc| {
        let mut schema = key.value.schema.clone();
        schema["description"] = json!(key.told());
        if !key.default.is_null() {
            schema["default"] = key.default.clone();
        }
        (key.name.clone(), schema)
    };
    let properties: Map<String, Json> = keys.iter().map(property).collect();
    // Nothing at all, such as an empty section of YAML, is an empty table.
    let kind = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
    json!({ "type": kind, "properties": properties, "required": required, "additionalProperties": false })
}

/// The keys of the top level whose changes a reload does not put into effect, and what does.
pub(crate) fn late() -> impl Iterator<Item = (String, &'static str)> {
    Config::keys().into_iter().filter_map(|key| Some((key.name, key.next?)))
}

/// JSON Schema, draft 2020-12, of a config file. A file of the Fly style has a schema of its own.
pub(crate) fn schema() -> Json {
    let mut config = table(&Config::keys());
    config["required"] = json!(["listeners"]);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config of Odin",
        "description": UNITS,
        "type": "object",
        "if": { "required": [fly::APPS] },
        "then": fly::schema(),
        "else": config,
    })
}

/// Every key with its words and its default, as TOML: `configs/full.toml`.
pub(crate) fn example() -> String {
    let mut out = format!(
        "# Every key there is; made by `odin schema --example`. What is commented out has no default.\n# {UNITS}\n\n"
    );
    section_of_example(&mut out, "", &Config::keys());
    out
}

fn section_of_example(out: &mut String, path: &str, keys: &[KeyDoc]) {
    for key in keys {
        let default = key.default.to_string();
        match key.example.unwrap_or(&default) {
            _ if key.stands_apart().is_some() => continue,
            example => {
                comment(out, &key.told());
                let (mark, value) = example.strip_prefix('#').map_or(("", example), |value| ("# ", value));
                let _ = writeln!(out, "{mark}{} = {value}", key.name);
            }
        }
    }
    for (key, inner) in keys.iter().filter_map(|key| Some((key, key.stands_apart()?))) {
        let path = heading(path, key, inner, key.example.unwrap_or_default());
        out.push('\n');
        comment(out, key.words);
        let _ = writeln!(out, "{path}");
        section_of_example(out, &path, &inner.keys);
    }
}

/// The line above a table, such as `[[listeners.routes]]`; `above` is that of the table that it is in.
fn heading(above: &str, key: &KeyDoc, inner: &Inner, name: &str) -> String {
    let above = above.trim_matches(['[', ']']);
    let path = if above.is_empty() { key.name.clone() } else { format!("{above}.{}", key.name) };
    match inner.layout {
        Layout::List => format!("[[{path}]]"),
        Layout::Named => format!("[{path}.{name}]"),
        Layout::Table | Layout::Inline | Layout::One => format!("[{path}]"),
    }
}

/// Breaks the text into lines.
fn comment(out: &mut String, text: &str) {
    let mut width = usize::MAX;
    for word in text.split_whitespace() {
        let next = width.saturating_add(1 + word.chars().count());
        let start = if width == usize::MAX { "# " } else { "\n# " };
        (width, _) = match next <= WIDTH {
            true => (next, write!(out, " {word}")),
            false => (word.chars().count(), write!(out, "{start}{word}")),
        };
    }
    out.push('\n');
}

/// Every key in tables, as Markdown: `docs/config.md`.
pub(crate) fn page() -> String {
    let mut out = format!(
        "# Keys of the config\n\nMade by `odin schema --markdown`. The same in TOML, YAML and JSON; headings are those of \
         TOML.\n[`configs/full.toml`](../configs/full.toml) is an example with every key.\n\n{UNITS}\n\n## Top level\n"
    );
    section_of_page(&mut out, "", &Config::keys());
    out
}

fn section_of_page(out: &mut String, path: &str, keys: &[KeyDoc]) {
    out.push_str("\n| key | value | default | |\n|---|---|---|---|\n");
    let cell = |text: &str| text.replace('|', "\\|");
    for key in keys {
        let value = match &key.value.inner {
            Some(Inner { layout: Layout::One, .. }) => "table, below".to_owned(),
            Some(inner) if inner.layout != Layout::Inline => format!("`{}`, below", heading(path, key, inner, "NAME")),
            _ => cell(&key.value.words),
        };
        let default = match (&key.default, key.required) {
            (_, true) => "required".to_owned(),
            (Json::Null, _) => String::new(),
            (default, _) => format!("`{default}`"),
        };
        let _ = writeln!(out, "| `{}` | {value} | {default} | {} |", key.name, cell(key.words));
    }
    for (key, inner) in keys.iter().filter_map(|key| Some((key, key.value.inner.as_ref()?))) {
        let path = heading(path, key, inner, "NAME");
        let title = match inner.layout {
            Layout::Inline => {
                format!("`{} = [{{ … }}]` in `{}`", key.name, path.replace(&format!(".{}", key.name), ""))
            }
            Layout::One => format!("`{} = {{ … }}` in `{}`", key.name, path.replace(&format!(".{}", key.name), "")),
            _ => format!("`{path}`"),
        };
        let _ = write!(out, "\n## {title}\n\n{}\n", inner.about);
        section_of_page(out, &path, &inner.keys);
    }
}

impl KeyDoc {
    /// Its words, what it may be, and its default.
    fn told(&self) -> String {
        let default = if self.default.is_null() { String::new() } else { format!("; default {}", self.default) };
        match self.value.words.as_str() {
            "" => self.words.to_owned(),
            value => format!("{} [{}{default}]", self.words, value.trim_end_matches('.')),
        }
    }

    /// The table that it is, if that has a heading of its own.
    fn stands_apart(&self) -> Option<&Inner> {
        self.value.inner.as_ref().filter(|inner| !matches!(inner.layout, Layout::Inline | Layout::One))
    }
}
