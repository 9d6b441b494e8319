//! Decodes the routes of listeners: what each matches, whether that fits the listener's protocol, and that no two of a
//! listener match the same.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use odin_proxy::check_route_path;
use serde_json::json;

use super::decoder::Field;
use super::readers::parsed;
use super::report::{KeyPath, Report};
use super::schema::{PathNormalization, Route};
use super::section::Keyed as _;
use super::shapes::{self, Layout, Shape, described};

/// A route with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlacedRoute {
    route: Route,
    line: u32,
    path: KeyPath,
}

/// What the routes of a listener match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matching {
    /// Requests.
    Http(PathNormalization),
    /// TLS connections.
    Tls,
    /// Each route one of the two.
    Any(PathNormalization),
}

impl Route {
    /// It is of TLS connections, in a listener that has both.
    pub(crate) fn is_tls(&self) -> bool {
        self.sni.is_some() || self.alpn.is_some()
    }

    /// The keys that say what it matches.
    fn matches(&self) -> [(&'static str, bool); 4] {
        let Route { host, path, sni, alpn, .. } = self;
        [("host", host.is_some()), ("path", path.is_some()), ("sni", sni.is_some()), ("alpn", alpn.is_some())]
    }

    /// What it matches, for people.
    fn matched(&self, matching: Matching) -> String {
        let sni = self.sni.iter().map(|name| format!("sni {name}"));
        let alpn = self.alpn.iter().filter(|names| !names.is_empty());
        let tls: Vec<_> = sni.chain(alpn.map(|names| format!("alpn {}", names.join(",")))).collect();
        match (&self.host, &self.path) {
            _ if !tls.is_empty() => tls.join(" "),
            _ if matching == Matching::Tls => "every name".to_owned(),
            (None, None) => "every host and path".to_owned(),
            (host, path) => format!("{}{}", host.as_deref().unwrap_or("*"), path.as_deref().unwrap_or("/")),
        }
    }
}

impl PlacedRoute {
    /// Reports what does not fit what the listener's routes match.
    pub(super) fn check(&self, matching: Matching, report: &Report) {
        let PlacedRoute { route, line, path } = self;
        let (http, message) = match matching {
            Matching::Tls => (false, "TLS that is not decrypted shows no host and path; write `sni` instead"),
            Matching::Http(_) => {
                (true, "requests are matched by `host` and `path`; write those, or set protocol to \"tls\" or \"auto\"")
            }
            Matching::Any(_) => {
                let message =
                    "a route is of HTTP, by `host` and `path`, or of TLS, by `sni` and `alpn`; write two routes";
                (!route.is_tls() || (route.host.is_none() && route.path.is_none()), message)
            }
        };
        let fits = |key: &str| match matching {
            Matching::Any(_) => http || matches!(key, "sni" | "alpn"),
            _ => http == matches!(key, "host" | "path"),
        };
        for (key, _) in route.matches().into_iter().filter(|(key, written)| *written && !fits(key)) {
            report.about(*line, &path.key(key), message);
        }
        let (Matching::Http(normalization) | Matching::Any(normalization)) = matching else { return };
        if normalization == PathNormalization::Strict
            && let Some(written) = &route.path
            && let Err(message) = check_route_path(written)
        {
            report.about(*line, &path.key("path"), format!("`{written}` is not a path to match; {message}"));
        }
    }
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

/// The routes of a listener, and on which line the first of those is that match the same.
pub(super) struct Placement {
    matching: Matching,
    pub(super) routes: Vec<Route>,
    lines: HashMap<Matched, u32>,
}

/// What a route matches: host, path, name and one protocol.
type Matched = [Option<String>; 4];

impl Placement {
    pub(super) fn new(matching: Matching) -> Self {
        Placement { matching, routes: Vec::new(), lines: HashMap::new() }
    }

    pub(super) fn add_placed(&mut self, placed: PlacedRoute, report: &Report) {
        let PlacedRoute { route, line, path } = placed;
        self.add(line, route, |message| report.error(line, &path, message));
    }

    /// Adds a route unless an earlier one matches the same.
    pub(super) fn add(&mut self, line: u32, route: Route, fail: impl FnOnce(String)) {
        let named = route.alpn.iter().flatten().cloned().map(Some);
        let any = route.alpn.as_ref().is_none_or(Vec::is_empty).then_some(None);
        let keys: Vec<Matched> = named
            .chain(any)
            .map(|protocol| [route.host.clone(), route.path.clone(), route.sni.clone(), protocol])
            .collect();
        if let Some(first) = keys.iter().find_map(|key| self.lines.get(key)) {
            let tls = route.is_tls() || self.matching == Matching::Tls;
            let (same, what) = (if tls { "connections" } else { "requests" }, route.matched(self.matching));
            fail(format!("the route on line {first} matches the same {same} ({what}); keep one of the two"));
            return;
        }
        self.lines.extend(keys.into_iter().map(|key| (key, line)));
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

/// The name of the server that a route matches.
pub(super) fn sni() -> Shape<Option<String>> {
    let schema = || json!({ "type": "string", "pattern": r"^(\*\.)?[A-Za-z0-9_.-]+$" });
    shapes::optional(Shape::value(move || described(schema(), "host name"), parsed("a host name", to_sni)))
}

/// A protocol that a client of TLS offers.
pub(super) fn protocol_name() -> Shape<String> {
    let schema = || json!({ "type": "string", "pattern": "^[!-~]{1,255}$" });
    Shape::value(move || described(schema(), "protocol name"), parsed("a protocol name", to_protocol))
}

/// `api.example.com` or `*.example.com`, in lower case and without the dot that makes it absolute.
fn to_sni(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fail = |message: &str| Err(format!("`{text}` is not a name to match; {message}"));
    match to_host(name) {
        _ if name.is_empty() || name == "*" => fail("leave `sni` out to match every name"),
        _ if name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok() => {
            fail("a client that dials an address names no server; leave `sni` out, or use the listener's `cluster`")
        }
        Ok(name) => Ok(name),
        Err(error) => Err(error.replacen("a host to match", "a name to match", 1)),
    }
}

/// `h2`, `http/1.1`
fn to_protocol(text: &str) -> Result<String, String> {
    match text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a protocol name; write one of ALPN, such as \"h2\" or \"http/1.1\"")),
    }
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
