//! Reads what is more than one value by itself: the top level, and values with rules of their own. Listeners and plugins
//! have files of their own.
//! Must never let a key through that it does not know.

mod plugins;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;
use serde_json::json;

use super::check::References;
use super::decoder::Field;
use super::node::{Node, Value};
use super::places::Kind;
use super::readers::{self, parsed};
use super::report::Report;
use super::schema::{Cluster, Config, Endpoint, EndpointAddress, Limits, Location, Plugin};
use super::section::Keyed as _;
use super::shapes::{self, Described, Inner, Layout, Shape, described};
use super::{describe, listeners, units};

pub(super) use plugins::{Spaces, breaker, grants, settings, wasm_file};

/// The whole config; `None` when an error was reported that leaves nothing to go on with.
pub(super) fn decode(root: Node, report: &Report, references: &mut References) -> Option<Config> {
    let mut top = Field::root(root, report).table()?;
    listeners::require(&mut top);
    let config = Config::take(&mut top, references);
    top.deny_rest();
    let config = config?;
    listeners::check(&references.listeners, &config, report);
    Some(config)
}

/// A name or a number; whether there is such a user shows when Odin starts.
pub(super) fn user() -> Shape<String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    let schema = || json!({ "type": "string", "pattern": r"^[^\s\x00-\x1f\x7f:,/]+$" });
    Shape::value(
        move || described(schema(), "user"),
        move |value| match value {
            Value::Int(number) => Err(format!(r#"expected a user name, found the number {number}; write "{number}""#)),
            other => match readers::text(other)? {
                name if name.contains(bad) => Err(format!("{name:?} is not a user; write a name such as \"odin\"")),
                name => Ok(name),
            },
        },
    )
}

/// An address, or `"off"`.
pub(super) fn admin() -> Shape<Option<SocketAddr>> {
    let schema = || json!({ "type": "string", "pattern": r"^(off|(\[[^\]\s]+\]|[0-9.]+):[0-9]{1,5})$" });
    let shape = Shape::value(
        move || described(schema(), "IP:port or `\"off\"`"),
        |value| match value {
            Value::Text(text) if text == "off" => Ok(None),
            Value::Bool(false) => Err(r#"expected IP:port or "off", found false; write "off""#.to_owned()),
            other => parsed(r#"IP:port or "off""#, units::socket_address)(other).map(Some),
        },
    );
    shape.shown(|admin| admin.map_or_else(|| json!("off"), |address| json!(address)))
}

/// A path, or `"off"`.
pub(super) fn location() -> Shape<Location> {
    let form = || Described { words: "path or `\"off\"`".to_owned(), ..file().describe() };
    Shape::new(form, |field, _| match &field.node.value {
        Value::Text(text) if text == "off" => Some(Location::Off),
        Value::Bool(false) => {
            field.fail(r#"expected a path or "off", found false; write "off""#);
            None
        }
        _ => path(&field).map(Location::At),
    })
}

/// A path as seen from the folder of the config file.
pub(super) fn file() -> Shape<PathBuf> {
    let form = || Described { words: "path".to_owned(), ..shapes::text().describe() };
    Shape::new(form, |field, _| path(&field))
}

fn path(field: &Field<'_>) -> Option<PathBuf> {
    let path = field.report.resolve(&field.read(readers::text)?);
    // Whoever reads the config from another folder shall find the same file.
    Some(std::path::absolute(&path).unwrap_or(path))
}

/// The name of a field of a head, in lower case.
pub(super) fn field_name() -> Shape<String> {
    let schema = || json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" });
    Shape::value(
        move || described(schema(), "field name"),
        |value| {
            let name = readers::text(value)?;
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Ok(name.to_string()),
                Err(_) => Err(format!("`{name}` is not the name of a field, such as \"user-agent\"")),
            }
        },
    )
}

/// The name of a value that plugins set for each other, and so for the log.
pub(super) fn context_name() -> Shape<String> {
    let schema = || json!({ "allOf": [shapes::name_schema()], "not": { "pattern": "^private:" } });
    Shape::value(
        move || described(schema(), "name"),
        |value| {
            let name = readers::name(value)?;
            if name.starts_with("private:") {
                return Err(format!(
                    "`{name}` is seen only by the plugin that set it; name a value without `private:`"
                ));
            }
            Ok(name)
        },
    )
}

pub(super) fn clusters() -> Shape<BTreeMap<String, Cluster>> {
    shapes::named(Kind::Cluster, |_, field, references| field.section(references))
}

pub(super) fn plugins() -> Shape<BTreeMap<String, Plugin>> {
    shapes::named(Kind::Plugin, plugins::plugin)
}

/// `"127.0.0.1:9000"` or `{ address = "127.0.0.1:9000", weight = 2 }`, each.
pub(super) fn endpoints() -> Shape<Vec<Endpoint>> {
    let form = || {
        let keys = Endpoint::keys();
        let items = json!({ "anyOf": [endpoint_address().describe().schema, describe::table(&keys)] });
        let inner = Inner { layout: Layout::Inline, about: Endpoint::ABOUT, keys };
        let words = "list of: an address, or a table";
        Described { inner: Some(inner), ..described(json!({ "type": "array", "minItems": 1, "items": items }), words) }
    };
    Shape::new(form, |field, references| {
        let (report, path, line) = (field.report, field.path.clone(), field.node.line);
        let endpoints = field.list("addresses")?;
        if endpoints.is_empty() {
            report.about(line, &path, r#"a cluster needs an endpoint; add one, for example "127.0.0.1:9000""#);
        }
        let endpoint = |field: Field<'_>| match field.node.value {
            Value::Map(_) => field.section(references),
            _ => endpoint_address().read(field, references).map(Endpoint::new),
        };
        Some(endpoints.into_iter().filter_map(endpoint).collect())
    })
}

pub(super) fn endpoint_address() -> Shape<EndpointAddress> {
    let pattern = r"^(\[[^\]\s]+\]|[^\s/\[\]:]+):0*[1-9][0-9]{0,4}$";
    let form = move || described(json!({ "type": "string", "pattern": pattern }), "IP:port or name:port");
    Shape::value(form, parsed(r#"an address such as "127.0.0.1:9000""#, units::endpoint_address))
}

pub(super) fn weight() -> Shape<u32> {
    let range = shapes::whole::<u32>(1..=65_535);
    Shape::value(
        move || range.describe(),
        |value| match value {
            Value::Int(0) => {
                Err("a weight starts at 1; to use an endpoint no more, remove it from the list".to_owned())
            }
            other => readers::whole(1..=65_535)(other),
        },
    )
}

pub(super) fn limits() -> Shape<Limits> {
    shapes::section_by(|field, references| {
        field.section_after(references, |table| {
            let instead = "idle connections are closed by time; write `upstream-idle` in [timeouts], or remove it";
            table.gone("idle-upstream-connections", instead);
        })
    })
}
