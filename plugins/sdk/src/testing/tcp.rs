//! One TCP connection through the hooks: `on_connect`, data both ways, `on_close`.

use odin_chain::{Chain, End, Flow, Hook, OnFailure, Why};

use super::chain::{Link, must_load};
use super::run::pour;
use super::scene::{Routes, SCENE, Scene, values};
use crate::bindings::imports::context::Value;
use crate::export::Exports;

/// One TCP connection through one plugin or more.
///
/// ```
/// # use odin_sdk::{Body, Data, Plugin, Result, testing};
/// # #[derive(Default)]
/// # struct Shout;
/// # #[odin_sdk::plugin]
/// # impl Plugin for Shout {
/// #     fn on_downstream_data(&self, data: &Body) -> Result<Data> {
/// #         Ok(Data::replace(data.bytes().to_ascii_uppercase()))
/// #     }
/// # }
/// # fn main() {
/// let relayed = testing::Connection::new::<Shout>(()).from_client(["hello, ", "world"]).from_endpoint(["hi"]).run();
/// assert_eq!(relayed.to_endpoint, b"HELLO, WORLD");
/// assert_eq!(relayed.to_client, b"hi");
/// # }
/// ```
pub struct Connection {
    chain: Vec<Link>,
    from_client: Vec<Vec<u8>>,
    from_endpoint: Vec<Vec<u8>>,
    routes: Routes,
    facts: Vec<(String, Value)>,
}

/// What came of a connection.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// What the endpoint got.
    pub to_endpoint: Vec<u8>,
    /// What the client got.
    pub to_client: Vec<u8>,
    /// The cluster that it was sent to; `None` when it was closed before.
    pub cluster: Option<String>,
    /// Why it was closed, if a plugin closed it.
    pub closed: Option<String>,
    /// The words of every hook that failed.
    pub failures: Vec<String>,
    context: Vec<(String, Value)>,
}

impl Relayed {
    /// A value of the context at the end.
    pub fn context(&self, name: &str) -> Option<&Value> {
        self.context.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl Connection {
    /// Through this plugin; `config` as in [`Exchange::new`](super::Exchange::new).
    pub fn new<P: Exports>(config: impl serde::Serialize) -> Self {
        Self {
            chain: vec![must_load::<P>(config)],
            from_client: Vec::new(),
            from_endpoint: Vec::new(),
            routes: Routes::default(),
            facts: Vec::new(),
        }
    }

    /// And then through this one.
    pub fn then<P: Exports>(mut self, config: impl serde::Serialize) -> Self {
        self.chain.push(must_load::<P>(config));
        self
    }

    /// What the client sends, in pieces; all of it before the endpoint sends.
    pub fn from_client<B: Into<Vec<u8>>>(mut self, pieces: impl IntoIterator<Item = B>) -> Self {
        self.from_client = pieces.into_iter().map(Into::into).collect();
        self
    }

    /// What the endpoint sends, in pieces.
    pub fn from_endpoint<B: Into<Vec<u8>>>(mut self, pieces: impl IntoIterator<Item = B>) -> Self {
        self.from_endpoint = pieces.into_iter().map(Into::into).collect();
        self
    }

    /// `body-limit`, in bytes, for every plugin so far.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.chain.iter_mut().for_each(|link| link.set(|rules| rules.body_bytes = bytes));
        self
    }

    /// The clusters that there are; any name is one unless this was called.
    pub fn clusters<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.routes.clusters.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A fact of the context, without its `odin.`.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// `on-failure = "open"`, for every plugin so far.
    pub fn fail_open(mut self) -> Self {
        self.chain.iter_mut().for_each(|link| link.set(|rules| rules.on_failure = OnFailure::Open));
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Relayed {
        SCENE.set(Scene::new(self.routes, self.facts));
        let mut relayed = Relayed {
            to_endpoint: Vec::new(),
            to_client: Vec::new(),
            cluster: None,
            closed: None,
            failures: Vec::new(),
            context: Vec::new(),
        };
        let chain: Chain<Link> = self.chain.into_iter().collect();
        let relay = || {
            connect(&chain)?;
            relayed.cluster = Some(SCENE.with_borrow_mut(|scene| {
                scene.route();
                scene.cluster.clone()
            }));
            flow(&chain, Hook::DownstreamData, self.from_client, &mut relayed.to_endpoint)?;
            flow(&chain, Hook::UpstreamData, self.from_endpoint, &mut relayed.to_client)
        };
        relayed.closed = Result::err(relay()).map(|end| match end.why {
            Why::Reject(words) | Why::Cut(words) | Why::Failed(words) => words,
            Why::Reply(_) => "a TCP connection has no reply".to_owned(),
            Why::TooLarge | Why::TooLate => "a plugin holds back more than body-limit".to_owned(),
        });
        for at in chain.due_at_close() {
            chain.filter(at).tell(|plugin| plugin.close());
        }
        let scene = SCENE.take();
        relayed.failures = scene.failures;
        relayed.context = values(&scene.state.context);
        relayed.context.extend(values(&scene.state.connection.context()));
        relayed
    }
}

fn connect(chain: &Chain<Link>) -> Result<(), End<String>> {
    SCENE.with_borrow_mut(|scene| scene.state.request_open = true);
    let connected = chain.due(Hook::Connect).try_for_each(|at| {
        chain.connects(at);
        chain.connected(at, chain.filter(at).connect())
    });
    SCENE.with_borrow_mut(|scene| scene.state.request_open = false);
    connected
}

/// One direction, to its end.
fn flow(chain: &Chain<Link>, hook: Hook, pieces: Vec<Vec<u8>>, out: &mut Vec<u8>) -> Result<(), End<String>> {
    let mut flow = Flow::new(chain, hook, true, std::time::Instant::now());
    let ends = pieces.into_iter().map(|piece| (piece, false)).chain([(Vec::new(), true)]);
    pour(chain, &mut flow, ends.collect(), out)
}
