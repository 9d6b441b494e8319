//! The Fly-style file: `{"Apps":[{"Name":"web","Ports":[80],"Targets":["10.0.0.1:80"]}]}`, in any syntax, becomes the
//! same [`Config`]. Must never mix with Odin's own keys: a file is of one style.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use odin_steer::Binding;
use serde_json::{Value as Json, json};

use super::check::References;
use super::decoder::Field;
use super::node::{Node, Value};
use super::places::Kind;
use super::readers::{name, parsed, whole};
use super::report::Report;
use super::schema::{Cluster, Config, Endpoint, Listener, Traffic};
use super::{sections, shapes, units};

/// The key that tells the style.
pub(super) const APPS: &str = "Apps";

/// Whether a file is of this style.
pub(super) fn is_fly(root: &Node) -> bool {
    matches!(&root.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == APPS))
}

/// JSON Schema of such a file.
pub(super) fn schema() -> Json {
    let port = json!({ "type": "integer", "minimum": 1, "maximum": 65_535 });
    let some = |items: Json| json!({ "type": "array", "minItems": 1, "items": items });
    let target = sections::endpoint_address().describe().schema;
    let app = json!({
        "type": "object",
        "properties": { "Name": shapes::name_schema(), "Ports": some(port), "Targets": some(target) },
        "required": ["Name", "Ports", "Targets"],
        "additionalProperties": false,
    });
    json!({ "properties": { APPS: some(app) }, "additionalProperties": false })
}

/// Each app becomes a TCP listener for its ports on every address, and a cluster.
pub(super) fn decode(root: Node, report: &Report, references: &mut References) -> Option<Config> {
    let mut top = Field::root(root, report).table()?;
    let mut apps = Apps::default();
    let field = top.take(APPS)?;
    if field.node.is_empty() {
        field.fail("no apps, so nothing would be served; add one with `Name`, `Ports` and `Targets`");
    }
    for field in field.list("apps").unwrap_or_default() {
        apps.app(field);
    }
    top.deny_rest();
    for (name, line) in &apps.names {
        references.define(Kind::Listener, name, *line);
        references.define(Kind::Cluster, name, *line);
    }
    Some(Config { listeners: apps.listeners, clusters: apps.clusters, ..Config::default() })
}

#[derive(Default)]
struct Apps {
    listeners: Vec<Listener>,
    clusters: BTreeMap<String, Cluster>,
    /// The line of each app's name.
    names: BTreeMap<String, u32>,
    /// The app and the line of each port.
    ports: BTreeMap<u16, (String, u32)>,
}

impl Apps {
    fn app(&mut self, field: Field<'_>) -> Option<()> {
        let mut table = field.table()?;
        let named = table.require("Name", r#"for example "web""#);
        let ports = table.require("Ports", "for example [5001]").and_then(|field| nonempty(field, "ports"));
        let targets = table
            .require("Targets", r#"for example ["127.0.0.1:9000"]"#)
            .and_then(|field| nonempty(field, "addresses"));
        table.deny_rest();

        let ports: Vec<(u16, Field<'_>)> =
            ports.into_iter().flatten().filter_map(|field| Some((field.read(whole(1..=65_535))?, field))).collect();
        let address = parsed(r#"an address such as "127.0.0.1:9000""#, units::endpoint_address);
        let targets = targets.into_iter().flatten().filter_map(|field| field.read(&address));
        let endpoints = targets.map(Endpoint::new).collect();

        let named = named?;
        let name = named.read(name)?;
        if let Some(first) = self.names.get(&name) {
            named.fail(&format!("`{name}` is the name of the app on line {first}; change one"));
            return None;
        }
        self.names.insert(name.clone(), named.node.line);
        let free = ports.into_iter().filter(|(port, field)| self.take(*port, field, &name));
        let addresses = free.map(|(port, _)| Binding::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))).collect();
        let traffic = Traffic::Tcp { cluster: name.clone(), plugins: Vec::new() };
        self.listeners.push(Listener::new(name.clone(), addresses, traffic));
        self.clusters.insert(name, Cluster::new(endpoints));
        Some(())
    }

    /// Notes who has a port; false, and told, when it is taken.
    fn take(&mut self, port: u16, field: &Field<'_>, app: &str) -> bool {
        if let Some((other, line)) = self.ports.get(&port) {
            field
                .fail(&format!("port {port} is taken by the app `{other}` on line {line}; an app has its ports alone"));
            return false;
        }
        self.ports.insert(port, (app.to_owned(), field.node.line));
        true
    }
}

fn nonempty<'r>(field: Field<'r>, of: &str) -> Option<Vec<Field<'r>>> {
    if field.node.is_empty() {
        field.fail(&format!("an app needs {of}; add one"));
    }
    field.list(of)
}
