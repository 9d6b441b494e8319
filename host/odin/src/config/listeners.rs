//! Decodes the listeners, and sees that no two of them are in each other's way (addresses: `bindings.rs`).
//! Must never bind or look anything up.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::acme;
use super::bindings;
use super::check::References;
use super::decoder::{Field, Table};
use super::node::Value;
use super::places::Kind;
use super::report::{KeyPath, Report};
use super::routes::{Matching, Placement};
use super::schema::{AutoRules, Config, Destination, Entrance, HttpRules, Listener, Protocol, Route, Traffic};
use super::section::{Choice as _, KeyDoc, Keyed as _};
use super::shapes::{self, Described, Layout, Shape};
use super::syntax::Syntax;
use super::units;

/// A listener with the place of its settings, to tell of conflicts.
pub(super) struct PlacedListener {
    name: String,
    addresses: Vec<bindings::Placed>,
    name_line: u32,
    path: KeyPath,
}

/// The list of all listeners.
pub(super) fn shape() -> Shape<Vec<Listener>> {
    Shape::new(describe, |field, references| {
        // A list of none is told of by `require`.
        let items = if field.node.is_empty() { Vec::new() } else { field.list("tables")? };
        Some(items.into_iter().filter_map(|field| listener(field, references)).collect())
    })
}

fn describe() -> Described {
    let keys =
        [Entrance::keys(), HttpRules::keys(), AutoRules::keys(), Destination::keys()].into_iter().flatten().collect();
    let mut described = shapes::tables(Layout::List, "What accepts connections at some addresses.", keys);
    described.schema["items"] = with(described.schema["items"].take());
    described.schema["type"] = json!("array");
    described.schema["minItems"] = json!(1);
    described
}

/// What goes with which protocol.
fn with(mut schema: Json) -> Json {
    let refused = |keys: Vec<KeyDoc>| keys.into_iter().map(|key| (key.name, json!(false)));
    // Whatever matches, and where the rest goes: one of the two at least.
    let goes = |with: &[&str], auto: bool, not: &[&str]| {
        let routes = json!({ "required": ["routes"], "properties": { "routes": { "minItems": 1 } } });
        let mut some: Vec<Json> = with.iter().map(|key| json!({ "required": [key] })).collect();
        some.push(routes);
        let not: Map<String, Json> = not.iter().map(|key| ((*key).to_owned(), json!(false))).collect();
        let mut properties: Map<String, Json> = Map::new();
        if !auto {
            properties.extend(refused(AutoRules::keys()));
        }
        // Where a route may be of both, each is of one.
        let one = json!({ "properties": { "host": false, "path": false } });
        let apart = json!({ "sni": one, "alpn": one });
        properties.insert("routes".to_owned(), json!({ "items": { "properties": not, "dependentSchemas": apart } }));
        json!({ "anyOf": some, "properties": properties, "dependentRequired": { "plugins": ["cluster"] } })
    };
    let is = |protocol: &str| json!({ "properties": { "protocol": { "const": protocol } }, "required": ["protocol"] });
    let none = [("routes".to_owned(), json!({ "maxItems": 0 }))];
    let tcp: Map<String, Json> = refused(HttpRules::keys()).chain(refused(AutoRules::keys())).chain(none).collect();
    let mut tls = goes(&["cluster"], false, &["host", "path"]);
    for (key, never) in refused(HttpRules::keys()) {
        tls["properties"][key] = never;
    }
    let auto = goes(&["cluster", "tcp-cluster"], true, &[]);
    tls["properties"]["tls"] = json!(false);
    let http = goes(&["cluster"], false, &["sni", "alpn"]);
    schema["if"] = is("tcp");
    schema["then"] = json!({ "properties": tcp, "required": ["cluster"] });
    schema["else"] = json!({
        "if": is("tls"), "then": tls, "else": { "if": is("auto"), "then": auto, "else": http },
    });
    schema
}

/// A config without a listener serves nothing.
pub(super) fn require(top: &mut Table<'_>) {
    if top.peek("listeners").is_none_or(|field| field.node.is_empty()) {
        let toml = top.report.syntax == Syntax::Toml;
        let add = if toml { "[[listeners]]" } else { "one to `listeners`, a list of tables," };
        let message = format!("no listeners, so nothing would be served; add {add} with `address` and `cluster`");
        top.missing("listeners", message);
    }
}

/// Reports the listeners that are in each other's way.
pub(super) fn check(listeners: &[PlacedListener], config: &Config, report: &Report) {
    let addresses: Vec<_> = listeners.iter().map(|placed| placed.addresses.as_slice()).collect();
    let taken = bindings::check(&addresses, config.admin, config.steering, report);
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for (index, PlacedListener { name, name_line, path, .. }) in listeners.iter().enumerate() {
        let Some(line) = names.get(name.as_str()) else {
            names.insert(name, *name_line);
            continue;
        };
        // Two with the same address have been told so, and have the same name for that.
        if !taken.contains(&index) {
            let message = format!("`{name}` is also the name of the listener on line {line}; give each its own");
            report.about(*name_line, &path.key("name"), message);
        }
    }
}

fn listener(field: Field<'_>, references: &mut References) -> Option<Listener> {
    let mut table = field.table()?;
    let (line, path) = (table.line, table.path.clone());
    let named = table.peek("name");
    // A mistyped protocol is reported; the rest is read as the default one.
    let protocol = table.peek("protocol").and_then(|field| match &field.node.value {
        Value::Text(word) => Protocol::ALL.iter().find(|(known, ..)| known == word).map(|(_, protocol, _)| *protocol),
        _ => None,
    });
    let protocol = protocol.unwrap_or_default();
    if let (Some(field), Protocol::Tls) = (table.peek("tls"), protocol) {
        field.fail(r#"this listener does not decrypt; remove it, or set protocol to "http", "tcp" or "auto""#);
    }
    let report = table.report;
    let names_due = table.peek("tls").filter(|field| !field.node.has("acme-names"));
    let names_due = names_due.map(|field| (field.node.line, field.path.clone()));
    let entrance = Entrance::take(&mut table, references);
    if protocol != Protocol::Auto {
        for KeyDoc { name, .. } in AutoRules::keys() {
            let message = r#"only a listener that tells protocols apart has it; remove it, or set protocol to "auto""#;
            table.refuse(&name, message);
        }
    }
    let traffic = match protocol {
        Protocol::Http => http(&mut table, references),
        Protocol::Tcp => tcp(&mut table, references),
        Protocol::Tls => tls(&mut table, references),
        Protocol::Auto => auto(&mut table, references),
    };
    table.deny_rest();

    let first = entrance.as_ref().and_then(|entrance| entrance.address.first()).map(|first| first.binding.to_string());
    // A name may be what the default would be: a config as JSON has it.
    if let Some(field) = &named
        && let Value::Text(text) = &field.node.value
        && !text.is_empty()
        && Some(text) != first.as_ref()
        && let Err(message) = units::check_name(text)
    {
        field.fail(&message);
        return None;
    }
    let entrance = entrance?;
    let name = if named.is_some() { entrance.name? } else { first? };
    references.define(Kind::Listener, &name, line);
    let addresses = entrance.address.iter().map(|placed| placed.binding).collect();
    let name_line = named.map_or(line, |field| field.node.line);
    let (steer, traffic) = traffic?;
    references.listeners.push(PlacedListener { name: name.clone(), addresses: entrance.address, name_line, path });
    let Entrance { mut tls, proxy_protocol, sources, .. } = entrance;
    if let (Some(tls), Some((line, path))) = (&mut tls, names_due)
        && !acme::complete(tls, &traffic)
    {
        report.about(line, &path, "no name to ask for a certificate of: no route has a `host`; add `acme-names`");
    }
    Some(Listener { name, addresses, steer, tls, proxy_protocol, sources, traffic })
}

/// What goes where, and the plugin that steers.
type Going = (Option<String>, Traffic);

fn tcp(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    no_requests(table, "TCP");
    table.refuse("routes", "a tcp listener has no routes; write `cluster` instead");
    if table.peek("cluster").is_none() {
        let message = format!("no `cluster`{}; add it: the name of one of the clusters", table.inside());
        table.missing("cluster", message);
    }
    let Destination { cluster, plugins, steer, .. } = Destination::take(table, references)?;
    Some((steer, Traffic::Tcp { cluster: cluster?, plugins }))
}

fn tls(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    no_requests(table, "TLS that is not decrypted");
    let (steer, routes) = routed(table, references, Matching::Tls, false)?;
    (!routes.is_empty()).then_some((steer, Traffic::Tls { routes }))
}

fn http(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    let rules = HttpRules::take(table, references)?;
    let (steer, routes) = routed(table, references, Matching::Http(rules.path_normalization), false)?;
    (!routes.is_empty()).then_some((steer, Traffic::Http { rules, routes }))
}

fn auto(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    let rules = HttpRules::take(table, references)?;
    let elsewhere = table.peek("tcp-cluster").is_some();
    let auto = AutoRules::take(table, references)?;
    let (steer, routes) = routed(table, references, Matching::Any(rules.path_normalization), elsewhere)?;
    (!routes.is_empty() || auto.tcp_cluster.is_some()).then_some((steer, Traffic::Auto { rules, auto, routes }))
}

/// The keys that are of requests.
fn no_requests(table: &mut Table<'_>, what: &str) {
    for KeyDoc { name, .. } in HttpRules::keys() {
        let reason = match name.as_str() {
            "trust-forwarded" => format!("{what} has no such fields"),
            "half-close" => "a TCP relay always passes it on".to_owned(),
            "path-normalization" | "encoded-slashes" => format!("{what} has no paths"),
            _ => format!("{what} has no requests"),
        };
        table.refuse(&name, &format!(r#"{reason}; remove it, or set protocol to "http""#));
    }
}

/// The routes of a listener, and the plugin that steers. The listener's own cluster is the last route. There need be none
/// where connections may go `elsewhere`.
fn routed(
    table: &mut Table<'_>,
    references: &mut References,
    matching: Matching,
    elsewhere: bool,
) -> Option<(Option<String>, Vec<Route>)> {
    let [cluster, plugins, routes] = ["cluster", "plugins", "routes"].map(|key| table.peek(key));
    if cluster.is_none() && routes.is_none_or(|field| field.node.is_empty()) && !elsewhere {
        let (or, what) = match matching {
            Matching::Any(_) => (", `routes` nor `tcp-cluster`", "connections go"),
            Matching::Http(_) => (" nor `routes`", "requests go"),
            Matching::Tls => (" nor `routes`", "connections go"),
        };
        let message = format!("neither `cluster`{or}{}; add one to say where {what}", table.inside());
        table.missing("cluster", message);
    }
    if let (None, Some(plugins)) = (&cluster, &plugins) {
        plugins.fail("goes with the listener's own `cluster`; move it into the routes");
    }
    let to = Destination::take(table, references)?;
    let mut placed = Placement::new(matching);
    for route in to.routes {
        route.check(matching, table.report);
        placed.add_placed(route, table.report);
    }
    if let (Some(field), Some(cluster)) = (cluster, to.cluster) {
        let route = Route { plugins: to.plugins, ..Route::new(cluster) };
        placed.add(field.node.line, route, |message| field.fail(&message));
    }
    Some((to.steer, placed.routes))
}
