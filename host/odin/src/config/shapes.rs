//! What the value of a key may be. A shape reads a value, writes it as JSON, and tells what it may be, in words and as
//! JSON Schema. The readers of single values are those of `readers.rs`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::check::References;
use super::decoder::Field;
use super::node::Value;
use super::places::Kind;
use super::section::{Choice, KeyDoc, Keyed};
use super::{describe, readers, units};

type Form = Box<dyn Fn() -> Described>;
type Read<T> = Box<dyn Fn(Field<'_>, &mut References) -> Option<T>>;
type Show<T> = Box<dyn Fn(&T) -> Json>;

/// What a value may be. Making one costs little: a description is made when it is asked for.
pub(super) struct Shape<T> {
    form: Form,
    read: Read<T>,
    show: Show<T>,
}

/// What the docs say of a value.
pub(super) struct Described {
    /// JSON Schema, draft 2020-12.
    pub(super) schema: Json,
    /// What is written, in a few words.
    pub(super) words: String,
    /// The table that the value is, or that each of its items is.
    pub(super) inner: Option<Inner>,
}

/// A table in a value.
pub(super) struct Inner {
    pub(super) layout: Layout,
    pub(super) about: &'static str,
    pub(super) keys: Vec<KeyDoc>,
}

/// Where a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[timeouts]`
    Table,
    /// `[[listeners]]`
    List,
    /// `[clusters.NAME]`
    Named,
    /// `{ address = "…" }`, in a list.
    Inline,
    /// `{ cert = "…" }`
    One,
}

pub(super) fn described(schema: Json, words: impl Into<String>) -> Described {
    Described { schema, words: words.into(), inner: None }
}

impl<T: Serialize + 'static> Shape<T> {
    /// What is read with its place in the file.
    pub(super) fn new(
        form: impl Fn() -> Described + 'static,
        read: impl Fn(Field<'_>, &mut References) -> Option<T> + 'static,
    ) -> Self {
        let show = |value: &T| serde_json::to_value(value).unwrap_or_default();
        Shape { form: Box::new(form), read: Box::new(read), show: Box::new(show) }
    }

    /// What `reader` understands.
    pub(super) fn value(
        form: impl Fn() -> Described + 'static,
        reader: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Self {
        Shape::new(form, move |field, _| field.read(&reader))
    }
}

impl<T: 'static> Shape<T> {
    /// What is read and then becomes something else.
    pub(super) fn read_only(
        form: impl Fn() -> Described + 'static,
        read: impl Fn(Field<'_>, &mut References) -> Option<T> + 'static,
    ) -> Self {
        Shape { form: Box::new(form), read: Box::new(read), show: Box::new(|_| Json::Null) }
    }

    /// Written in another way than by serde.
    pub(super) fn shown(self, show: impl Fn(&T) -> Json + 'static) -> Self {
        Shape { show: Box::new(show), ..self }
    }

    /// Reads a value; what is wrong with it is reported.
    pub(super) fn read(&self, field: Field<'_>, references: &mut References) -> Option<T> {
        (self.read)(field, references)
    }

    /// The value as a config has it; null for what a config leaves out.
    pub(super) fn show(&self, value: &T) -> Json {
        (self.show)(value)
    }

    pub(super) fn describe(&self) -> Described {
        (self.form)()
    }
}

/// A key that may be left out and has no default.
pub(super) fn optional<T: 'static>(shape: Shape<T>) -> Shape<Option<T>> {
    let Shape { form, read, show } = shape;
    let read = move |field: Field<'_>, references: &mut References| read(field, references).map(Some);
    let show = move |value: &Option<T>| value.as_ref().map_or(Json::Null, &show);
    Shape { form, read: Box::new(read), show: Box::new(show) }
}

pub(super) fn text() -> Shape<String> {
    Shape::value(|| described(json!({ "type": "string", "minLength": 1 }), "text"), readers::text)
}

/// The name of a listener, cluster or plugin, or what else shows in logs.
pub(super) fn name() -> Shape<String> {
    Shape::value(|| described(name_schema(), "name"), readers::name)
}

/// What [`units::check_name`] takes.
pub(super) fn name_schema() -> Json {
    json!({ "type": "string", "pattern": r#"^[^\s\x00-\x1f\x7f/\\"?#%]+$"# })
}

pub(super) fn boolean() -> Shape<bool> {
    Shape::value(|| described(json!({ "type": "boolean" }), "true or false"), readers::boolean)
}

pub(super) fn whole<T: TryFrom<i128> + Serialize + 'static>(range: RangeInclusive<u32>) -> Shape<T> {
    let (least, most) = (*range.start(), *range.end());
    let schema = move || json!({ "type": "integer", "minimum": least, "maximum": most });
    let form = move || described(schema(), format!("whole number from {least} to {most}"));
    Shape::value(form, readers::whole(least.into()..=most.into()))
}

/// `least` is zero or a power of ten of microseconds, which a pattern of JSON Schema can tell.
pub(super) fn duration(least: Duration) -> Shape<Duration> {
    let unit = move |(unit, micros): &(&str, u64)| match least.as_micros().div_ceil(u128::from(*micros)) {
        0 => format!(r"[0-9]+\s*{unit}"),
        number => format!(r"0*[1-9][0-9]{{{},}}\s*{unit}", number.ilog10()),
    };
    let form = move || {
        let units = units::DURATION_UNITS.iter().map(unit).collect::<Vec<_>>().join("|");
        let schema = json!({ "type": "string", "pattern": format!("^({units})$") });
        match least.is_zero() {
            true => described(schema, "duration"),
            false => described(schema, format!("duration of at least {}", units::format_duration(least))),
        }
    };
    Shape::value(form, readers::duration(least)).shown(|value| json!(units::format_duration(*value)))
}

/// The schema knows the range of bytes, but not that of a text.
pub(super) fn size(range: RangeInclusive<u64>) -> Shape<u64> {
    let (least, most) = (*range.start(), *range.end());
    let form = move || {
        let pattern = r"^[0-9]+\s*(B|KiB|MiB|GiB)?$";
        let schema = json!({ "type": ["string", "integer"], "pattern": pattern, "minimum": least, "maximum": most });
        described(schema, format!("size from {} to {}", units::format_size(least), units::format_size(most)))
    };
    Shape::value(form, readers::size(range)).shown(|value| json!(units::format_size(*value)))
}

/// One of a few words.
pub(super) fn choice<T: Choice + Serialize>() -> Shape<T> {
    let form = || {
        let words: Vec<&str> = T::ALL.iter().map(|(word, ..)| *word).collect();
        let told = T::ALL.iter().map(|(word, _, meaning)| format!("`\"{word}\"`:{meaning}"));
        described(json!({ "enum": words }), told.collect::<Vec<_>>().join(" "))
    };
    Shape::value(form, readers::choice)
}

/// The name of a cluster or plugin that is defined somewhere in the file.
pub(super) fn reference(kind: Kind) -> Shape<String> {
    let form = move || described(text().describe().schema, format!("name of a {kind}"));
    Shape::new(form, move |field, references| references.read(kind, &field))
}

/// A list of values, each of them once; `of` names them in errors.
pub(super) fn list<T: PartialEq + Serialize + 'static>(of: &'static str, item: Shape<T>) -> Shape<Vec<T>> {
    let Shape { form, read, .. } = item;
    let form = move || {
        let Described { schema, words, .. } = form();
        let schema = json!({ "type": ["array", "null"], "items": schema, "uniqueItems": true });
        described(schema, format!("list of: {words}"))
    };
    Shape::new(form, move |field, references| Some(field.distinct(of, |field| read(field.clone(), references))))
}

/// A table.
pub(super) fn section<T: Keyed + Serialize + 'static>() -> Shape<T> {
    section_by(|field, references| field.section(references))
}

/// A table that is more than its keys one by one.
pub(super) fn section_by<T: Keyed + Serialize + 'static>(
    read: fn(Field<'_>, &mut References) -> Option<T>,
) -> Shape<T> {
    Shape::new(|| tables(Layout::Table, T::ABOUT, T::keys()), read)
}

/// Tables with names that the user chooses. `read` is given the name.
pub(super) fn named<T: Keyed + Serialize + 'static>(
    kind: Kind,
    read: fn(&str, Field<'_>, &mut References) -> Option<T>,
) -> Shape<BTreeMap<String, T>> {
    let read_all = move |field: Field<'_>, references: &mut References| {
        let mut sections = BTreeMap::new();
        for (name, line, field) in field.named() {
            references.define(kind, &name, line);
            if let Err(message) = units::check_name(&name) {
                field.report.error(line, &field.path, message);
            }
            if let Some(section) = read(&name, field, references) {
                sections.insert(name, section);
            }
        }
        Some(sections)
    };
    Shape::new(|| tables(Layout::Named, T::ABOUT, T::keys()), read_all)
}

/// What the docs say of one or more tables. Nothing at all is an empty one.
pub(super) fn tables(layout: Layout, about: &'static str, keys: Vec<KeyDoc>) -> Described {
    let table = describe::table(&keys);
    let schema = match layout {
        Layout::Table | Layout::One => table,
        Layout::List | Layout::Inline => json!({ "type": ["array", "null"], "items": table }),
        Layout::Named => {
            json!({ "type": ["object", "null"], "propertyNames": name_schema(), "additionalProperties": table })
        }
    };
    Described { inner: Some(Inner { layout, about, keys }), ..described(schema, "") }
}
