//! Decodes the listeners and their routes, and sees that no two of them are in each other's way (addresses:
//! `bindings.rs`).
//! Must never bind or look anything up.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use odin_proxy::check_route_path;

use super::bindings;
use super::check::References;
use super::decoder::{Field, Table};
use super::node::Value;
use super::places::Kind;
use super::readers::{boolean, choice, name, parsed};
use super::report::KeyPath;
use super::schema::{EncodedSlashes, HttpRules, Listener, PathNormalization, Route, SteeringMode, Traffic};
use super::syntax::Syntax;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Tcp,
}

/// A listener with the place of its settings, to tell of conflicts. Its addresses stand aside, each with its place.
struct Placed {
    listener: Listener,
    addresses: Vec<bindings::Placed>,
    name_line: u32,
    path: KeyPath,
}

/// Takes `listeners` out of the top level.
pub(super) fn decode(
    top: &mut Table<'_>,
    admin: Option<SocketAddr>,
    steering: SteeringMode,
    references: &mut References,
) -> Vec<Listener> {
    let field = top.take("listeners");
    let missing = field.as_ref().is_none_or(|field| field.node.is_empty());
    if missing {
        let add =
            if top.report.syntax == Syntax::Toml { "[[listeners]]" } else { "one to `listeners`, a list of tables," };
        let message = format!("no listeners, so nothing would be served; add {add} with `address` and `cluster`");
        top.missing("listeners", message);
        return Vec::new();
    }
    let report = top.report;
    let items = field.and_then(|field| field.list("tables")).unwrap_or_default();
    let listeners: Vec<Placed> = items.into_iter().filter_map(|field| listener(field, references)).collect();
    let addresses: Vec<_> = listeners.iter().map(|placed| placed.addresses.as_slice()).collect();
    let taken = bindings::check(&addresses, admin, steering, report);
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for (index, Placed { listener, name_line, path, .. }) in listeners.iter().enumerate() {
        let name = listener.name.as_str();
        let Some(line) = names.get(name) else {
            names.insert(name, *name_line);
            continue;
        };
        // Two with the same address have been told so, and have the same name for that.
        if !taken.contains(&index) {
            let message = format!("`{name}` is also the name of the listener on line {line}; give each its own");
            report.about(*name_line, &path.key("name"), message);
        }
    }
    listeners.into_iter().map(|placed| placed.listener).collect()
}

fn listener(field: Field<'_>, references: &mut References) -> Option<Placed> {
    let mut table = field.table()?;
    let named = table.take("name");
    let address = table.require("address", r#"for example "127.0.0.1:8080""#);
    let protocols = [("http", Protocol::Http), ("tcp", Protocol::Tcp)];
    let protocol = match table.take("protocol") {
        Some(field) => field.read(choice(&protocols)),
        None => Some(Protocol::Http),
    };
    let traffic = match protocol {
        Some(Protocol::Tcp) => tcp(&mut table, references),
        // A mistyped protocol is reported; the rest is read as the default one.
        Some(Protocol::Http) | None => http(&mut table, references),
    };
    let steer = table.take("steer").and_then(|field| references.read(Kind::Plugin, &field));
    let (line, path) = (table.line, table.path.clone());
    table.deny_rest();

    let name_line = named.as_ref().map_or(line, |field| field.node.line);
    let placed = address.and_then(bindings::read);
    let first = placed.as_ref().and_then(|placed| placed.first()).map(|first| first.binding.to_string());
    let name = match named {
        // A name may be what the default would be: a config as JSON has it.
        Some(field) if matches!((&field.node.value, &first), (Value::Text(text), Some(first)) if text == first) => {
            first
        }
        Some(field) => field.read(name),
        None => first,
    };
    let (name, placed) = (name?, placed?);
    references.define(Kind::Listener, &name, line);
    let addresses = placed.iter().map(|placed| placed.binding).collect();
    let listener = Listener { name, addresses, steer, traffic: traffic? };
    Some(Placed { listener, addresses: placed, name_line, path })
}

fn tcp(table: &mut Table<'_>, references: &mut References) -> Option<Traffic> {
    if let Some(field) = table.take("trust-forwarded") {
        field.fail(r#"TCP has no such fields; remove it, or set protocol to "http""#);
    }
    for key in ["path-normalization", "encoded-slashes"] {
        if let Some(field) = table.take(key) {
            field.fail(r#"TCP has no paths; remove it, or set protocol to "http""#);
        }
    }
    if let Some(field) = table.take("half-close") {
        field.fail(r#"a TCP relay always passes it on; remove it, or set protocol to "http""#);
    }
    let cluster = table.take("cluster");
    let plugins = table.take("plugins").map(|field| plugin_names(field, references)).unwrap_or_default();
    if let Some(field) = table.take("routes") {
        field.fail("a tcp listener has no routes; write `cluster` instead");
    }
    let Some(field) = cluster else {
        let message = format!("no `cluster`{}; add it: the name of one of the clusters", table.inside());
        table.missing("cluster", message);
        return None;
    };
    Some(Traffic::Tcp { cluster: references.read(Kind::Cluster, &field)?, plugins })
}

fn http(table: &mut Table<'_>, references: &mut References) -> Option<Traffic> {
    let rules = rules(table);
    let cluster = table.take("cluster");
    let plugins = table.take("plugins");
    let routes = table.take("routes");

    let has_routes = routes.as_ref().is_some_and(|field| !field.node.is_empty());
    if cluster.is_none() && !has_routes {
        let message = format!("neither `cluster` nor `routes`{}; add one to say where requests go", table.inside());
        table.missing("cluster", message);
    }
    if let (None, Some(plugins)) = (&cluster, &plugins) {
        plugins.fail("goes with the listener's own `cluster`; move it into the routes");
    }
    let mut placed = Placement::default();
    let items = routes.and_then(|field| field.list("tables")).unwrap_or_default();
    for field in items {
        let (report, path, line) = (field.report, field.path.clone(), field.node.line);
        let Some(route) = route(field, references) else { continue };
        if rules.path_normalization == PathNormalization::Strict
            && let Some(written) = &route.path
            && let Err(message) = check_route_path(written)
        {
            report.about(line, &path.key("path"), format!("`{written}` is not a path to match; {message}"));
        }
        placed.add(line, route, |message| report.error(line, &path, message));
    }
    if let Some(field) = cluster {
        let line = field.node.line;
        let cluster = references.read(Kind::Cluster, &field);
        let plugins = plugins.map(|field| plugin_names(field, references)).unwrap_or_default();
        let route = Route { host: None, path: None, cluster: cluster?, plugins };
        placed.add(line, route, |message| field.fail(&message));
    }
    let routes = placed.routes;
    (!routes.is_empty()).then_some(Traffic::Http { rules, routes })
}

/// How requests are read.
fn rules(table: &mut Table<'_>) -> HttpRules {
    let modes = [("strict", PathNormalization::Strict), ("off", PathNormalization::Off)];
    let slashes =
        [("refuse", EncodedSlashes::Refuse), ("keep", EncodedSlashes::Keep), ("decode", EncodedSlashes::Decode)];
    HttpRules {
        trust_forwarded: table.read("trust-forwarded", boolean).unwrap_or_default(),
        half_close: table.read("half-close", boolean).unwrap_or_default(),
        path_normalization: table.read("path-normalization", choice(&modes)).unwrap_or_default(),
        encoded_slashes: table.read("encoded-slashes", choice(&slashes)).unwrap_or_default(),
    }
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

fn route(field: Field<'_>, references: &mut References) -> Option<Route> {
    let mut table = field.table()?;
    let host = table.take("host").map(|field| field.read(parsed("a host name", host)));
    let path = table.take("path").map(|field| field.read(parsed("a path", path)));
    let cluster = table.require("cluster", "the name of one of the clusters");
    let cluster = cluster.and_then(|field| references.read(Kind::Cluster, &field));
    let plugins = table.take("plugins").map(|field| plugin_names(field, references)).unwrap_or_default();
    table.deny_rest();
    // The inner `?`: a host or path that is wrong is not one that matches everything.
    let host = if let Some(host) = host { Some(host?) } else { None };
    let path = if let Some(path) = path { path? } else { None };
    Some(Route { host, path, cluster: cluster?, plugins })
}

fn plugin_names(field: Field<'_>, references: &mut References) -> Vec<String> {
    field.distinct("plugin names", |field| references.read(Kind::Plugin, field))
}

/// `api.example.com`, `*.example.com` or `[::1]`, in lower case.
fn host(text: &str) -> Result<String, String> {
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
fn path(text: &str) -> Result<Option<String>, String> {
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
