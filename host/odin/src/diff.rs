//! What lies between two configs, as the smallest set of operations: what a reload would do, in words.
//! Works on configs as JSON, since the other one may be what a running Odin tells. Must never compare everything with
//! everything: a listener may have tens of thousands of addresses.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::slice;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value that is longer than this is cut when it is shown.
const SHOWN: usize = 60;

/// One operation. `Display` gives a line: `~ cluster web: balancer lb_rr -> lb_random`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) op: Op,
    pub(crate) kind: Subject,
    /// What it is about; a part has the name of its whole in front: `web 10.0.0.3:80`.
    pub(crate) name: String,
    /// What is different, or worth knowing of what is new.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

/// In the order in which a reader sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    Remove,
    Change,
    Add,
}

/// In the order of a config file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    Setting,
    Listener,
    Binding,
    Route,
    Cluster,
    Endpoint,
    Plugin,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.op {
            Op::Remove => '-',
            Op::Change => '~',
            Op::Add => '+',
        };
        let kind = match self.kind {
            Subject::Setting => "setting",
            Subject::Listener => "listener",
            Subject::Binding => "binding",
            Subject::Route => "route",
            Subject::Cluster => "cluster",
            Subject::Endpoint => "endpoint",
            Subject::Plugin => "plugin",
        };
        write!(f, "{sign} {kind} {}", self.name)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// What makes `after` of `before`; both are a [`Config`](crate::config::Config) as JSON. By kind, and of each kind
/// first what goes, then what changes, then what comes.
pub(crate) fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    const PARTS: [&str; 3] = ["listeners", "clusters", "plugins"];
    for (name, change) in differences(before, after, &PARTS, false) {
        changes.push(Op::Change, Subject::Setting, name, change);
    }
    let listeners = |config| named(many(config, "listeners"), |listener| text(listener, "name"));
    for pair in pairs(listeners(before), listeners(after)) {
        changes.whole(Subject::Listener, &pair, &["name", "address", "routes"]);
        let bindings = |listener| named(many(listener, "address"), |address| shown(Some(address)));
        changes.parts(Subject::Binding, &pair, bindings);
        changes.parts(Subject::Route, &pair, |listener| named(many(listener, "routes"), route));
    }
    for pair in pairs(keyed(before, "clusters"), keyed(after, "clusters")) {
        changes.whole(Subject::Cluster, &pair, &["endpoints"]);
        let endpoints = |cluster| named(many(cluster, "endpoints"), |endpoint| text(endpoint, "address"));
        changes.parts(Subject::Endpoint, &pair, endpoints);
    }
    for pair in pairs(keyed(before, "plugins"), keyed(after, "plugins")) {
        changes.whole(Subject::Plugin, &pair, &[]);
    }
    changes.0.sort_by_key(|change| (change.kind, change.op));
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, op: Op, kind: Subject, name: String, detail: String) {
        self.0.push(Change { op, kind, name, detail });
    }

    /// A listener, cluster or plugin, without the parts that are told one by one.
    fn whole(&mut self, kind: Subject, pair: &Pair<'_>, parts: &[&str]) {
        self.pair(kind, pair.name.clone(), pair, parts);
    }

    fn parts<'a>(&mut self, kind: Subject, whole: &Pair<'a>, items: impl Fn(&'a Value) -> Items<'a>) {
        let of = |value: Option<&'a Value>| value.map(&items).unwrap_or_default();
        for pair in pairs(of(whole.before), of(whole.after)) {
            self.pair(kind, format!("{} {}", whole.name, pair.name), &pair, &[]);
        }
    }

    fn pair(&mut self, kind: Subject, name: String, pair: &Pair<'_>, skip: &[&str]) {
        match (pair.before, pair.after) {
            (Some(before), Some(after)) => {
                let changed = differences(before, after, skip, kind == Subject::Plugin);
                if !changed.is_empty() {
                    let changed: Vec<_> = changed.into_iter().map(|(key, change)| format!("{key} {change}")).collect();
                    self.push(Op::Change, kind, name, changed.join(", "));
                }
            }
            (Some(_), None) => self.push(Op::Remove, kind, name, String::new()),
            (None, after) => {
                let weight = after.and_then(|after| after.get("weight")).filter(|weight| **weight != 1);
                let detail = weight.map(|weight| format!("weight {weight}")).unwrap_or_default();
                self.push(Op::Add, kind, name, detail);
            }
        }
    }
}

/// Values with the names that tell which is which.
type Items<'a> = Vec<(String, &'a Value)>;

/// What has the same name before and after; one of the two at least is there.
struct Pair<'a> {
    name: String,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
}

/// Finds for each what it was before. Of several with the same name, those that did not change go together.
fn pairs<'a>(before: Items<'a>, after: Items<'a>) -> Vec<Pair<'a>> {
    let mut old: BTreeMap<&str, VecDeque<&'a Value>> = BTreeMap::new();
    for (name, value) in &before {
        old.entry(name).or_default().push_back(value);
    }
    let mut pairs = Vec::new();
    let mut changed = Vec::new();
    for (name, value) in after {
        let same = old.get_mut(name.as_str()).and_then(|values| {
            let at = values.iter().position(|old| *old == value)?;
            values.remove(at)
        });
        match same {
            Some(same) => pairs.push(Pair { name, before: Some(same), after: Some(value) }),
            None => changed.push((name, value)),
        }
    }
    for (name, value) in changed {
        let before = old.get_mut(name.as_str()).and_then(VecDeque::pop_front);
        pairs.push(Pair { name, before, after: Some(value) });
    }
    // In the order of the file, which the map does not have.
    for (name, _) in &before {
        if let Some(value) = old.get_mut(name.as_str()).and_then(VecDeque::pop_front) {
            pairs.push(Pair { name: name.clone(), before: Some(value), after: None });
        }
    }
    pairs
}

fn named<'a>(values: &'a [Value], name: impl Fn(&Value) -> String) -> Items<'a> {
    values.iter().map(|value| (name(value), value)).collect()
}

fn keyed<'a>(config: &'a Value, key: &str) -> Items<'a> {
    let table = config.get(key).and_then(Value::as_object);
    table.into_iter().flatten().map(|(name, value)| (name.clone(), value)).collect()
}

/// The values of a key that has one or a list of them.
fn many<'a>(table: &'a Value, key: &str) -> &'a [Value] {
    match table.get(key) {
        Some(Value::Array(items)) => items,
        Some(one) => slice::from_ref(one),
        None => &[],
    }
}

fn text(table: &Value, key: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `api.example.com/v1`; `*` for every host; `sni a.example alpn h2` of TLS that is not decrypted.
fn route(route: &Value) -> String {
    let part = |key: &str, every: &str| route.get(key).and_then(Value::as_str).unwrap_or(every).to_owned();
    let sni = route.get("sni").map(|_| "sni ".to_owned() + &part("sni", ""));
    let alpn: Vec<_> = many(route, "alpn").iter().filter_map(Value::as_str).collect();
    let alpn = (!alpn.is_empty()).then(|| format!("alpn {}", alpn.join(",")));
    let tls: Vec<String> = sni.into_iter().chain(alpn).collect();
    if tls.is_empty() { part("host", "*") + &part("path", "/") } else { tls.join(" ") }
}

/// Each value that differs, by its path: `("timeouts.connect", "3s -> 1s")`. Of a plugin's settings only that they do.
fn differences(before: &Value, after: &Value, skip: &[&str], plugin: bool) -> Vec<(String, String)> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten(before, String::new(), skip, &mut old);
    flatten(after, String::new(), skip, &mut new);
    let gone = old.keys().filter(|path| !new.contains_key(*path));
    // They may be keys and passwords, of any type, and this goes to the log.
    let secret = |path: &str| plugin && (path == "config" || path.starts_with("config."));
    let different = |path: &String| {
        let (old, new) = (old.get(path).copied(), new.get(path).copied());
        // What is not there and what is null are the same.
        let (was, is) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
        let change = || match (shown(old), shown(new)) {
            _ if secret(path) && was.is_null() => "is new".to_owned(),
            _ if secret(path) && is.is_null() => "is gone".to_owned(),
            _ if secret(path) => "is another".to_owned(),
            // Both are cut before they differ.
            (old, new) if old == new => "is another".to_owned(),
            (old, new) => format!("{old} -> {new}"),
        };
        (was != is).then(|| (path.clone(), change()))
    };
    new.keys().chain(gone).filter_map(different).collect()
}

fn flatten<'a>(value: &'a Value, path: String, skip: &[&str], into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table.iter().filter(|(key, _)| !skip.contains(&key.as_str())) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, path, &[], into);
            }
        }
        leaf => {
            into.insert(path, leaf);
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text))
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) =>
        {
            format!("{text:?}")
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
