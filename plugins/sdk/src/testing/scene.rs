//! What the hooks of one exchange or connection see, as in Odin, and what the test says in place of it. One for each test
//! thread, since there is never a second one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use odin_chain::{ConnectionInfo, Context, HookState, Routed, Routing};

use super::world::WORLD;
use crate::Field;
use crate::bindings::imports::context::Value;

/// How large a head may grow unless the test says otherwise, in bytes.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

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

pub(crate) struct Scene {
    pub(crate) active: Option<Active>,
    pub(crate) state: Box<HookState>,
    /// Facts that the test gives, without `odin.`.
    pub(crate) facts: BTreeMap<String, Value>,
    started: (Duration, Duration),
    /// A trailer hook runs.
    pub(crate) at_trailers: bool,
    /// The words of every hook that failed.
    pub(crate) failures: Vec<String>,
    routes: Arc<Routes>,
    pub(crate) cluster: String,
    pub(crate) endpoints: Option<Vec<Target>>,
    pub(crate) turn: u64,
}

thread_local! {
    pub(crate) static SCENE: RefCell<Scene> = RefCell::default();
}

/// The clusters that there are, every name when none was given, and the routes: a path's prefix and its cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(crate) clusters: Vec<String>,
    pub(crate) routes: Vec<(String, String)>,
}

impl Routing for Routes {
    fn has_cluster(&self, name: &str) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|cluster| cluster == name)
    }

    fn matches(&self, _authority: &str, uri: &http::Uri) -> bool {
        self.of(uri).is_some()
    }
}

impl Routes {
    /// The cluster of the longest prefix.
    fn of(&self, uri: &http::Uri) -> Option<&str> {
        let matching = self.routes.iter().filter(|(prefix, _)| uri.path().starts_with(prefix.as_str()));
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, cluster)| cluster.as_str())
    }
}

impl Default for Scene {
    fn default() -> Self {
        Scene::new(Routes::default(), Vec::new())
    }
}

impl Scene {
    /// A scene with the facts that are known from the beginning.
    pub(crate) fn new(routes: Routes, facts: Vec<(String, Value)>) -> Self {
        let started = WORLD.with_borrow(|world| (world.now, world.monotonic));
        let (client, local) = (([192, 0, 2, 1], 50000).into(), ([192, 0, 2, 2], 80).into());
        let mut state = HookState::new(Arc::new(ConnectionInfo::new(client, local, "test".into())), HEAD_BYTES);
        let routes = Arc::new(routes);
        state.routing = Some(routes.clone());
        Scene {
            active: None,
            state,
            facts: facts.into_iter().collect(),
            started,
            at_trailers: false,
            failures: Vec::new(),
            routes,
            cluster: "web".to_owned(),
            endpoints: None,
            turn: 0,
        }
    }

    /// Sends the exchange or connection where the plugins want it to go.
    pub(crate) fn route(&mut self) {
        match (self.state.routed.take(), &self.state.request) {
            (Some(Routed::Cluster(name)), _) => self.cluster = name.into(),
            (Some(Routed::Rematch), Some(head)) => {
                self.cluster = self.routes.of(&head.uri).map_or_else(String::new, str::to_owned);
            }
            _ => {}
        }
        self.state.facts.cluster = Some(self.cluster.as_str().into());
    }

    /// What a plugin finds under this name. Time is that of the test.
    pub(crate) fn recall(&self, plugin: &str, name: &str) -> Option<Value> {
        let (now, monotonic) = self.started;
        let fact = name.strip_prefix(odin_chain::FACTS).unwrap_or_default();
        match (self.facts.get(fact), fact) {
            (Some(fact), _) => Some(fact.clone()),
            (None, "started") => Some(nanos(now)),
            (None, "elapsed") => Some(nanos(WORLD.with_borrow(|world| world.monotonic).saturating_sub(monotonic))),
            _ => self.state.recall(plugin, name).map(Into::into),
        }
    }
}

fn nanos(time: Duration) -> Value {
    Value::Integer(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// All values, private ones too.
pub(crate) fn values(context: &Context) -> Vec<(String, Value)> {
    context.all().map(|(name, value)| (name.to_owned(), value.clone().into())).collect()
}

/// Fields of a message; what cannot be one panics.
pub(crate) fn map(fields: Vec<Field>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let field = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value));
        let (Ok(name), Ok(value)) = field else { panic!("{name:?} with {value:?} is no field") };
        map.append(name, value);
    }
    map
}

/// The fields of a message, names in lower case.
pub(crate) fn list(map: &HeaderMap) -> Vec<Field> {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

impl From<odin_chain::Value> for Value {
    fn from(value: odin_chain::Value) -> Self {
        match value {
            odin_chain::Value::Boolean(value) => Value::Boolean(value),
            odin_chain::Value::Integer(value) => Value::Integer(value),
            odin_chain::Value::Float(value) => Value::Float(value),
            odin_chain::Value::Text(value) => Value::Text(value),
            odin_chain::Value::Bytes(value) => Value::Bytes(value),
        }
    }
}

impl From<Value> for odin_chain::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => odin_chain::Value::Boolean(value),
            Value::Integer(value) => odin_chain::Value::Integer(value),
            Value::Float(value) => odin_chain::Value::Float(value),
            Value::Text(value) => odin_chain::Value::Text(value),
            Value::Bytes(value) => odin_chain::Value::Bytes(value),
        }
    }
}
