//! Decodes the top level and its sections; listeners and plugins have files of their own.
//! Must never let a key through that it does not know.

mod plugins;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::check::References;
use super::decoder::{Field, Table};
use super::node::{Node, Value};
use super::places::Kind;
use super::readers::{boolean, choice, duration, name, parsed, size, text, whole};
use super::report::Report;
use super::schema::{
    AccessLog, Cluster, Config, Endpoint, Limits, Location, LogFormat, SteeringMode, Timeouts, UpstreamProtocol,
};
use super::{listeners, units};

/// The whole config; `None` when an error was reported that leaves nothing to go on with.
pub(super) fn decode(root: Node, report: &Report, references: &mut References) -> Option<Config> {
    let mut top = Field::root(root, report).table()?;
    let defaults = Config::default();
    let workers = top.read("workers", whole(1..=1024));
    let shutdown_grace = top.read("shutdown-grace", duration(Duration::ZERO)).unwrap_or(defaults.shutdown_grace);
    let drain_timeout = top.read("drain-timeout", duration(Duration::ZERO)).unwrap_or(defaults.drain_timeout);
    let modes = [("auto", SteeringMode::Auto), ("bpf", SteeringMode::Bpf), ("bind", SteeringMode::Bind)];
    let steering = top.read("steering", choice(&modes)).unwrap_or(defaults.steering);
    let user = top.read("user", user);
    let admin = top.read("admin", admin).unwrap_or(defaults.admin);
    let admin_socket = top.take("admin-socket").and_then(location).unwrap_or_default();
    let admin_token_file = top.take("admin-token-file").and_then(|field| path(&field));
    let compile_cache = top.take("compile-cache").and_then(location).unwrap_or_default();
    let compile_timeout = top.read("compile-timeout", duration(Duration::from_secs(1)));
    let compile_memory = top.read("compile-memory", size(64 << 20..=64 << 30));
    let access_log = top.take("access-log").and_then(access_log).unwrap_or_default();
    let listeners = listeners::decode(&mut top, admin, steering, references);
    let clusters = top.take("clusters").map(|field| clusters(field, references)).unwrap_or_default();
    let plugins = top.take("plugins").map(|field| plugins::decode(field, references)).unwrap_or_default();
    let timeouts = top.take("timeouts").and_then(timeouts).unwrap_or_default();
    let limits = top.take("limits").and_then(limits).unwrap_or_default();
    top.deny_rest();
    Some(Config {
        workers,
        shutdown_grace,
        drain_timeout,
        steering,
        user,
        admin,
        admin_socket,
        admin_token_file,
        compile_cache,
        compile_timeout: compile_timeout.unwrap_or(defaults.compile_timeout),
        compile_memory: compile_memory.unwrap_or(defaults.compile_memory),
        access_log,
        listeners,
        clusters,
        plugins,
        timeouts,
        limits,
    })
}

/// A name or a number; whether there is such a user shows when Odin starts.
fn user(value: &Value) -> Result<String, String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    match value {
        Value::Int(number) => Err(format!(r#"expected a user name, found the number {number}; write "{number}""#)),
        other => match text(other)? {
            name if name.contains(bad) => Err(format!("{name:?} is not a user; write a name such as \"odin\"")),
            name => Ok(name),
        },
    }
}

fn admin(value: &Value) -> Result<Option<std::net::SocketAddr>, String> {
    match value {
        Value::Text(text) if text == "off" => Ok(None),
        Value::Bool(false) => Err(r#"expected IP:port or "off", found false; write "off""#.to_owned()),
        other => parsed(r#"IP:port or "off""#, units::socket_address)(other).map(Some),
    }
}

/// A path, or `"off"`.
fn location(field: Field<'_>) -> Option<Location> {
    match &field.node.value {
        Value::Text(text) if text == "off" => Some(Location::Off),
        Value::Bool(false) => {
            field.fail(r#"expected a path or "off", found false; write "off""#);
            None
        }
        _ => path(&field).map(Location::At),
    }
}

/// A path as seen from the folder of the config file.
fn path(field: &Field<'_>) -> Option<PathBuf> {
    let path = field.report.resolve(&field.read(text)?);
    // Whoever reads the config from another folder shall find the same file.
    Some(std::path::absolute(&path).unwrap_or(path))
}

fn access_log(field: Field<'_>) -> Option<AccessLog> {
    let mut table = field.table()?;
    let defaults = AccessLog::default();
    let enabled = table.read("enabled", boolean).unwrap_or(defaults.enabled);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = table.read("format", choice(&formats)).unwrap_or(defaults.format);
    let context = table.take("context").map(|field| field.distinct("names", |field| field.read(context_name)));
    let fields = table.take("fields").map(|field| field.distinct("field names", |field| field.read(field_name)));
    table.deny_rest();
    let (context, fields) = (context.unwrap_or_default(), fields.unwrap_or_default());
    Some(AccessLog { enabled, format, context, fields })
}

/// The name of a field of a head, in lower case.
fn field_name(value: &Value) -> Result<String, String> {
    let name = text(value)?;
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(format!("`{name}` is not the name of a field, such as \"user-agent\"")),
    }
}

/// The name of a value that plugins set for each other, and so for the log.
fn context_name(value: &Value) -> Result<String, String> {
    let name = name(value)?;
    if name.starts_with("private:") {
        return Err(format!("`{name}` is seen only by the plugin that set it; name a value without `private:`"));
    }
    Ok(name)
}

fn clusters(field: Field<'_>, references: &mut References) -> BTreeMap<String, Cluster> {
    let mut clusters = BTreeMap::new();
    for (name, line, field) in field.named() {
        references.define(Kind::Cluster, &name, line);
        if let Err(message) = units::check_name(&name) {
            field.report.error(line, &field.path, message);
        }
        if let Some(cluster) = cluster(field, references) {
            clusters.insert(name, cluster);
        }
    }
    clusters
}

fn cluster(field: Field<'_>, references: &mut References) -> Option<Cluster> {
    let mut table = field.table()?;
    let endpoints = table.require("endpoints", r#"for example ["127.0.0.1:9000"]"#).and_then(endpoints);
    let balancer = table.take("balancer").and_then(|field| references.read(Kind::Plugin, &field));
    let protocols = [("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];
    let protocol = table.read("protocol", choice(&protocols)).unwrap_or_default();
    table.deny_rest();
    Some(Cluster { endpoints: endpoints?, balancer, protocol })
}

fn endpoints(field: Field<'_>) -> Option<Vec<Endpoint>> {
    let (report, path, line) = (field.report, field.path.clone(), field.node.line);
    let endpoints = field.list("addresses")?;
    if endpoints.is_empty() {
        report.about(line, &path, r#"a cluster needs an endpoint; add one, for example "127.0.0.1:9000""#);
    }
    Some(endpoints.into_iter().filter_map(endpoint).collect())
}

/// `"127.0.0.1:9000"` or `{ address = "127.0.0.1:9000", weight = 2 }`.
fn endpoint(field: Field<'_>) -> Option<Endpoint> {
    let address = parsed(r#"an address such as "127.0.0.1:9000""#, units::endpoint_address);
    if !matches!(field.node.value, Value::Map(_)) {
        return Some(Endpoint { address: field.read(address)?, weight: 1 });
    }
    let mut table = field.table()?;
    let address = table.require("address", r#"for example "127.0.0.1:9000""#).and_then(|field| field.read(address));
    let weight = table.read("weight", weight).unwrap_or(1);
    table.deny_rest();
    Some(Endpoint { address: address?, weight })
}

fn weight(value: &Value) -> Result<u32, String> {
    match value {
        Value::Int(0) => Err("a weight starts at 1; to use an endpoint no more, remove it from the list".to_owned()),
        other => whole(1..=65_535)(other),
    }
}

fn timeouts(field: Field<'_>) -> Option<Timeouts> {
    let mut table = field.table()?;
    let mut timeouts = Timeouts::default();
    set(&mut timeouts.connect, &mut table, "connect", duration(Duration::ZERO));
    set(&mut timeouts.header, &mut table, "header", duration(Duration::ZERO));
    set(&mut timeouts.idle, &mut table, "idle", duration(Duration::ZERO));
    set(&mut timeouts.queue, &mut table, "queue", duration(Duration::ZERO));
    set(&mut timeouts.upstream_idle, &mut table, "upstream-idle", duration(Duration::ZERO));
    set(&mut timeouts.http2_ping, &mut table, "http2-ping", duration(Duration::ZERO));
    set(&mut timeouts.response, &mut table, "response", duration(Duration::ZERO));
    set(&mut timeouts.request, &mut table, "request", duration(Duration::ZERO));
    set(&mut timeouts.tcp_idle, &mut table, "tcp-idle", duration(Duration::ZERO));
    table.deny_rest();
    Some(timeouts)
}

fn limits(field: Field<'_>) -> Option<Limits> {
    let mut table = field.table()?;
    let mut limits = Limits::default();
    set(&mut limits.head_bytes, &mut table, "head-bytes", size(1 << 10..=16 << 20));
    set(&mut limits.head_fields, &mut table, "head-fields", whole(1..=256));
    set(&mut limits.trailer_bytes, &mut table, "trailer-bytes", size(0..=16 << 20));
    set(&mut limits.connections, &mut table, "connections", whole(1..=10_000_000));
    set(&mut limits.streams, &mut table, "streams", whole(1..=1_000_000));
    set(&mut limits.upstream_connections, &mut table, "upstream-connections", whole(1..=1_000_000));
    set(&mut limits.streams_per_upstream, &mut table, "streams-per-upstream", whole(1..=1_000_000));
    set(&mut limits.body_rate, &mut table, "body-rate", size(0..=1 << 40));
    set(&mut limits.cpu_budget, &mut table, "cpu-budget", duration(Duration::from_millis(1)));
    let instead = "idle connections are closed by time; write `upstream-idle` in [timeouts], or remove it";
    table.gone("idle-upstream-connections", instead);
    table.deny_rest();
    Some(limits)
}

/// Replaces a default by the key's value, if it is there and good.
fn set<T>(setting: &mut T, table: &mut Table<'_>, key: &'static str, reader: impl FnOnce(&Value) -> Result<T, String>) {
    if let Some(value) = table.read(key, reader) {
        *setting = value;
    }
}
