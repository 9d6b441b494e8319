//! Decodes the listeners and their routes, and sees that no two of them are in each other's way (addresses:
//! `bindings.rs`).
//! Must never bind or look anything up.

use std::collections::{BTreeMap, HashMap};

use odin_proxy::check_route_path;
use serde_json::json;

use super::bindings;
use super::check::References;
use super::decoder::{Field, Table};
use super::node::Value;
use super::places::Kind;
use super::readers::parsed;
use super::report::{KeyPath, Report};
use super::schema::{Config, Destination, Entrance, HttpRules, Listener, PathNormalization, Route, Traffic};
use super::section::{KeyDoc, Keyed as _};
use super::shapes::{self, Described, Layout, Shape, described};
use super::syntax::Syntax;
use super::units;

/// A listener with the place of its settings, to tell of conflicts.
pub(super) struct PlacedListener {
    name: String,
    addresses: Vec<bindings::Placed>,
    name_line: u32,
    path: KeyPath,
}

/// A route with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlacedRoute {
    route: Route,
    line: u32,
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
    let keys = [Entrance::keys(), HttpRules::keys(), Destination::keys()].into_iter().flatten().collect();
    let mut described = shapes::tables(Layout::List, "What accepts connections at some addresses.", keys);
    // TCP has no requests, and HTTP has routes or a cluster.
    let refused = HttpRules::keys().into_iter().map(|key| (key.name, json!(false)));
    let refused: serde_json::Map<_, _> = refused.chain([("routes".to_owned(), json!({ "maxItems": 0 }))]).collect();
    let schema = &mut described.schema["items"];
    schema["if"] = json!({ "properties": { "protocol": { "const": "tcp" } }, "required": ["protocol"] });
    schema["then"] = json!({ "properties": refused, "required": ["cluster"] });
    let routes = json!({ "required": ["routes"], "properties": { "routes": { "minItems": 1 } } });
    schema["else"] = json!({ "anyOf": [{ "required": ["cluster"] }, routes] });
    schema["else"]["dependentRequired"] = json!({ "plugins": ["cluster"] });
    described.schema["type"] = json!("array");
    described.schema["minItems"] = json!(1);
    described
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
    let tcp = table.peek("protocol").is_some_and(|field| field.node.value == Value::Text("tcp".to_owned()));
    let entrance = Entrance::take(&mut table, references);
    let traffic = if tcp { self::tcp(&mut table, references) } else { http(&mut table, references) };
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
    let Entrance { proxy_protocol, sources, .. } = entrance;
    Some(Listener { name, addresses, steer, proxy_protocol, sources, traffic })
}

/// What goes where, and the plugin that steers.
type Going = (Option<String>, Traffic);

fn tcp(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    for KeyDoc { name, .. } in HttpRules::keys() {
        let reason = match name.as_str() {
            "trust-forwarded" => "TCP has no such fields",
            "half-close" => "a TCP relay always passes it on",
            "path-normalization" | "encoded-slashes" => "TCP has no paths",
            _ => "TCP has no requests",
        };
        table.refuse(&name, &format!(r#"{reason}; remove it, or set protocol to "http""#));
    }
    table.refuse("routes", "a tcp listener has no routes; write `cluster` instead");
    if table.peek("cluster").is_none() {
        let message = format!("no `cluster`{}; add it: the name of one of the clusters", table.inside());
        table.missing("cluster", message);
    }
    let Destination { cluster, plugins, steer, .. } = Destination::take(table, references)?;
    Some((steer, Traffic::Tcp { cluster: cluster?, plugins }))
}

fn http(table: &mut Table<'_>, references: &mut References) -> Option<Going> {
    let rules = HttpRules::take(table, references)?;
    let [cluster, plugins, routes] = ["cluster", "plugins", "routes"].map(|key| table.peek(key));
    if cluster.is_none() && routes.is_none_or(|field| field.node.is_empty()) {
        let message = format!("neither `cluster` nor `routes`{}; add one to say where requests go", table.inside());
        table.missing("cluster", message);
    }
    if let (None, Some(plugins)) = (&cluster, &plugins) {
        plugins.fail("goes with the listener's own `cluster`; move it into the routes");
    }
    let to = Destination::take(table, references)?;
    let mut placed = Placement::default();
    for PlacedRoute { route, line, path } in to.routes {
        if rules.path_normalization == PathNormalization::Strict
            && let Some(written) = &route.path
            && let Err(message) = check_route_path(written)
        {
            let message = format!("`{written}` is not a path to match; {message}");
            table.report.about(line, &path.key("path"), message);
        }
        placed.add(line, route, |message| table.report.error(line, &path, message));
    }
    if let (Some(field), Some(cluster)) = (cluster, to.cluster) {
        let route = Route { plugins: to.plugins, ..Route::new(cluster) };
        placed.add(field.node.line, route, |message| field.fail(&message));
    }
    let routes = placed.routes;
    (!routes.is_empty()).then_some((to.steer, Traffic::Http { rules, routes }))
}

/// The routes of a listener.
pub(super) fn routes() -> Shape<Vec<PlacedRoute>> {
    let form = || shapes::tables(Layout::List, Route::ABOUT, Route::keys());
    Shape::read_only(form, |field, references| {
        let route = |field: Field<'_>| {
            let (report, line, path) = (field.report, field.node.line, field.path.clone());
            let errors = report.len();
            let route = field.section(references)?;
            // A host or path that is wrong is not one that matches everything.
            (report.len() == errors).then_some(PlacedRoute { route, line, path })
        };
        Some(field.list("tables")?.into_iter().filter_map(route).collect())
    })
}

/// The routes of a listener, and on which line the first of those is that match the same requests.
#[derive(Default)]
struct Placement {
    routes: Vec<Route>,
    lines: HashMap<(Option<String>, Option<String>), u32>,
}

impl Placement {
    /// Adds a route unless an earlier one matches the same requests.
    fn add(&mut self, line: u32, route: Route, fail: impl FnOnce(String)) {
        let matched = (route.host.clone(), route.path.clone());
        if let Some(first) = self.lines.get(&matched) {
            let what = match (&route.host, &route.path) {
                (None, None) => "every host and path".to_owned(),
                (host, path) => format!("{}{}", host.as_deref().unwrap_or("*"), path.as_deref().unwrap_or("/")),
            };
            fail(format!("the route on line {first} matches the same requests ({what}); keep one of the two"));
            return;
        }
        self.lines.insert(matched, line);
        self.routes.push(route);
    }
}

/// The host that a route matches.
pub(super) fn host() -> Shape<Option<String>> {
    let schema = || json!({ "type": "string", "pattern": r"^(\*\.)?([A-Za-z0-9_.-]+|\[[A-Za-z0-9_.:-]+\])$" });
    shapes::optional(Shape::value(move || described(schema(), "host name"), parsed("a host name", to_host)))
}

/// The path that a route matches.
pub(super) fn path() -> Shape<Option<String>> {
    let schema = || json!({ "type": "string", "pattern": r"^/[^?#*\s\x00-\x1f\x7f]*$" });
    Shape::value(move || described(schema(), "path"), parsed("a path", to_path))
}

/// `api.example.com`, `*.example.com` or `[::1]`, in lower case.
fn to_host(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let literal = text.starts_with('[') && text.ends_with(']');
    let good = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') || (literal && matches!(c, '[' | ']' | ':'))
    };
    let message = match name {
        "" | "*" => "leave `host` out to match every host",
        _ if name.contains('*') => "only the whole first label can be a star, as in \"*.example.com\"",
        _ if !literal && name.contains(':') => "a route matches a host without its port; remove the port",
        _ if name.contains('/') => "a host has no path; write it as `path`",
        _ if !name.chars().all(good) => {
            "a host is letters, digits, `-` and `.`; write an international name in its xn-- form"
        }
        _ => return Ok(text.to_ascii_lowercase()),
    };
    Err(format!("`{text}` is not a host to match; {message}"))
}

/// `/v1`, without a slash at the end; none for `/`, which matches every path.
fn to_path(text: &str) -> Result<Option<String>, String> {
    let message = match text {
        _ if !text.starts_with('/') => "a path starts with `/`",
        _ if text.contains(['?', '#']) => "a route matches the path only; remove what starts at `?` or `#`",
        _ if text.contains('*') => "a path is a prefix by itself; remove the star",
        _ if text.chars().any(|c| c.is_whitespace() || c.is_control()) => "a path has no spaces; write %20",
        _ => {
            let trimmed = text.trim_end_matches('/');
            return Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()));
        }
    };
    Err(format!("`{text}` is not a path to match; {message}"))
}
