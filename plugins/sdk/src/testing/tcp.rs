//! One TCP connection through the hooks: `on_connect`, data both ways, `on_close`.

use super::chain::{Link, must_load};
use super::scene::{SCENE, Scene, Values};
use super::stage::{End, Flow, Limits, Stage, passed_over};
use crate::bindings::imports::context::Value;
use crate::export::{Exports, Hook};
use crate::{BodyMode, Connect};

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
    limits: Limits,
    clusters: Vec<String>,
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
    context: Values,
}

impl Relayed {
    /// A value of the context at the end.
    pub fn context(&self, name: &str) -> Option<&Value> {
        self.context.0.iter().find(|((_, key), _)| key == name).map(|(_, value)| value)
    }
}

impl Connection {
    /// Through this plugin; `config` as in [`Exchange::new`](super::Exchange::new).
    pub fn new<P: Exports>(config: impl serde::Serialize) -> Self {
        Self {
            chain: vec![must_load::<P>(config)],
            from_client: Vec::new(),
            from_endpoint: Vec::new(),
            limits: Limits { body: 1 << 20, partial: false },
            clusters: Vec::new(),
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

    /// `body-limit`, in bytes.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limits.body = bytes;
        self
    }

    /// The clusters that there are; any name is one unless this was called.
    pub fn clusters<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.clusters.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A fact of the context, without its `odin.`.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// `on-failure = "open"`, for every plugin so far.
    pub fn fail_open(mut self) -> Self {
        self.chain.iter_mut().for_each(|link| link.open = true);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Relayed {
        let mut scene = Scene::new();
        scene.clusters = self.clusters;
        for (name, value) in self.facts {
            scene.know(&name, value);
        }
        SCENE.set(scene);

        let mut relayed = Relayed {
            to_endpoint: Vec::new(),
            to_client: Vec::new(),
            cluster: None,
            closed: None,
            failures: Vec::new(),
            context: Values::default(),
        };
        let (greeted, skipped, result) = connect(&self.chain);
        let (chain, skipped) = (&self.chain, &skipped);
        let stages = |hook: Hook| {
            let sees = move |index: &usize| chain[*index].has(hook) && !skipped.contains(index);
            (0..chain.len()).filter(sees).map(|index| Stage::new(&chain[index], BodyMode::Stream))
        };
        let result = result.and_then(|()| {
            relayed.cluster = Some(SCENE.with_borrow_mut(|scene| {
                scene.know("cluster", Value::Text(scene.cluster.clone()));
                scene.cluster.clone()
            }));
            let forth = stages(Hook::DownstreamData).collect();
            flow(Flow::FromDownstream, forth, self.limits, self.from_client, &mut relayed.to_endpoint)?;
            let back = stages(Hook::UpstreamData).rev().collect();
            flow(Flow::FromUpstream, back, self.limits, self.from_endpoint, &mut relayed.to_client)
        });
        relayed.closed = match result {
            Ok(()) => None,
            Err(End::Rejected(words) | End::Cut(words) | End::Failed(words)) => Some(words),
            Err(End::Reply(_)) => Some("a TCP connection has no reply".to_owned()),
            Err(End::TooLarge) => Some("a plugin holds back more than body-limit".to_owned()),
        };
        for link in self.chain[..greeted].iter().filter(|link| link.has(Hook::Connection)) {
            if let Err(words) = link.call(|plugin| plugin.close()) {
                SCENE.with_borrow_mut(|scene| scene.failures.push(words));
            }
        }
        let scene = SCENE.take();
        (relayed.failures, relayed.context) = (scene.failures, scene.connection);
        relayed
    }
}

/// How many plugins were asked, which of them want no data, and whether the connection goes on.
fn connect(chain: &[Link]) -> (usize, Vec<usize>, Result<(), End>) {
    let mut skipped = Vec::new();
    SCENE.with_borrow_mut(|scene| scene.routing_open = true);
    let mut result = Ok(());
    let mut greeted = 0;
    for (index, link) in chain.iter().enumerate() {
        greeted += 1;
        if !link.has(Hook::Connection) {
            continue;
        }
        match passed_over(link, link.call(|plugin| plugin.connect())) {
            Ok(None | Some(Connect::Continue)) => {}
            Ok(Some(Connect::SkipData)) => skipped.push(index),
            Ok(Some(Connect::Reject(reason))) => result = Err(End::Rejected(reason)),
            Err(end) => result = Err(end),
        }
        if result.is_err() {
            break;
        }
    }
    SCENE.with_borrow_mut(|scene| scene.routing_open = false);
    (greeted, skipped, result)
}

/// One direction, to its end.
fn flow(
    flow: Flow,
    mut stages: Vec<Stage<'_>>,
    limits: Limits,
    pieces: Vec<Vec<u8>>,
    out: &mut Vec<u8>,
) -> Result<(), End> {
    let ends = pieces.into_iter().map(|piece| (piece, false)).chain([(Vec::new(), true)]);
    for (piece, end) in ends {
        SCENE.with_borrow_mut(|scene| {
            match flow {
                Flow::FromDownstream => scene.received += piece.len(),
                _ => scene.sent += piece.len(),
            }
            scene.count();
        });
        out.extend(stages.iter_mut().try_fold(piece, |piece, stage| stage.take(flow, limits, piece, end))?);
    }
    Ok(())
}
