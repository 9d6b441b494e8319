//! What the hooks of one exchange or connection see: its heads, the running piece, its context. One for each test
//! thread, since there is never a second one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::fields::Fields;
use super::world::WORLD;
use crate::bindings::imports::context::{ContextError, Value};

/// A head as it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) fields: Fields,
    pub(crate) has_body: bool,
}

/// A status whose responses cannot have a body, as on the host.
pub(crate) fn bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// A head as it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) has_body: bool,
}

/// One endpoint of the cluster that a balancer picks from.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) healthy: bool,
    pub(crate) failed: bool,
    pub(crate) active_requests: u32,
}

/// The plugin whose hook runs.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) id: &'static str,
    pub(crate) config: serde_json::Value,
    /// Without an exchange: in `configure` and `steer`.
    pub(crate) alone: bool,
}

#[derive(Default)]
pub(crate) struct Scene {
    pub(crate) active: Option<Active>,
    pub(crate) request: Option<RequestHead>,
    pub(crate) request_open: bool,
    pub(crate) response: Option<ResponseHead>,
    pub(crate) response_open: bool,
    pub(crate) max_head_bytes: usize,
    pub(crate) piece: Vec<u8>,
    /// None outside the trailer hooks.
    pub(crate) trailers: Option<Fields>,
    pub(crate) context: Values,
    pub(crate) connection: Values,
    pub(crate) facts: BTreeMap<String, Value>,
    pub(crate) started: std::time::Duration,
    /// Bytes of bodies so far.
    pub(crate) received: usize,
    pub(crate) sent: usize,
    /// The words of every hook that failed.
    pub(crate) failures: Vec<String>,
    /// Also true in `on_connect`, where there is no request.
    pub(crate) routing_open: bool,
    /// The clusters that there are; every name is one when none was given.
    pub(crate) clusters: Vec<String>,
    pub(crate) routes: Vec<(String, String)>,
    pub(crate) cluster: String,
    pub(crate) endpoints: Option<Vec<Target>>,
    pub(crate) turn: u64,
}

thread_local! {
    pub(crate) static SCENE: RefCell<Scene> = RefCell::default();
}

/// Values by name; a private one by its owner too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(pub(crate) BTreeMap<Key, Value>, BTreeMap<Key, &'static str>);

/// The owner of a private value, and its name. Beside the values stands which plugin has set each.
type Key = (Option<&'static str>, String);

/// A value in the context, over all names and values of one exchange.
const MAX_VALUES: usize = 64;
const MAX_BYTES: usize = 64 << 10;

impl Values {
    pub(crate) fn get(&self, owner: &'static str, name: &str) -> Option<&Value> {
        self.0.get(&key(owner, name))
    }

    pub(crate) fn set(&mut self, owner: &'static str, name: &str, value: Value) -> Result<(), ContextError> {
        let key = key(owner, name);
        let others = self.0.iter().filter(|(other, _)| **other != key);
        let bytes: usize = others.map(|((_, name), value)| size(name, value)).sum();
        let count = self.0.len() + usize::from(!self.0.contains_key(&key));
        if count > MAX_VALUES || bytes + size(name, &value) > MAX_BYTES {
            return Err(ContextError::TooLarge);
        }
        let own = |(other, _): &(&Key, &Value)| **other != key && self.1.get(*other) == Some(&owner);
        let (count, bytes) =
            self.0.iter().filter(own).fold((1, size(name, &value)), |(count, bytes), ((_, name), value)| {
                (count + 1, bytes + size(name, value))
            });
        if count > MAX_VALUES / 2 || bytes > MAX_BYTES / 2 {
            return Err(ContextError::OverShare);
        }
        self.1.entry(key.clone()).or_insert(owner);
        self.0.insert(key, value);
        Ok(())
    }

    pub(crate) fn remove(&mut self, owner: &'static str, name: &str) {
        self.0.remove(&key(owner, name));
        self.1.remove(&key(owner, name));
    }
}

fn key(owner: &'static str, name: &str) -> (Option<&'static str>, String) {
    (name.starts_with("private:").then_some(owner), name.to_owned())
}

fn size(name: &str, value: &Value) -> usize {
    name.len()
        + match value {
            Value::Boolean(_) => 1,
            Value::Integer(_) | Value::Float(_) => 8,
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
}

impl Scene {
    /// A scene with the facts that are known from the beginning.
    pub(crate) fn new() -> Self {
        let (now, monotonic) = WORLD.with_borrow(|world| (world.now, world.monotonic));
        let mut scene = Self { max_head_bytes: 64 << 10, started: monotonic, ..Self::default() };
        scene.cluster = "web".to_owned();
        for (name, text) in
            [("client-address", "192.0.2.1:50000"), ("local-address", "192.0.2.2:80"), ("listener", "test")]
        {
            scene.know(name, Value::Text(text.to_owned()));
        }
        scene.know("tls", Value::Boolean(false));
        scene.know("started", integer(now.as_nanos()));
        scene.count();
        scene
    }

    pub(crate) fn know(&mut self, name: &str, value: Value) {
        self.facts.insert(format!("odin.{name}"), value);
    }

    /// Makes facts of the bytes so far.
    pub(crate) fn count(&mut self) {
        self.know("bytes-received", integer(self.received as u128));
        self.know("bytes-sent", integer(self.sent as u128));
    }

    pub(crate) fn fact(&self, name: &str) -> Option<Value> {
        if name == "odin.elapsed" {
            let elapsed = WORLD.with_borrow(|world| world.monotonic).saturating_sub(self.started);
            return Some(integer(elapsed.as_nanos()));
        }
        self.facts.get(name).cloned()
    }
}

fn integer(number: u128) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
