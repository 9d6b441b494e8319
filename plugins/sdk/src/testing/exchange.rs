//! One HTTP exchange, described: plugins, request, upstream. What happens to it is in `run`.

use odin_chain::{BodyOverflow, Context, OnFailure};

use super::chain::{Link, must_load};
use super::outcome::{Outcome, Seen, Upstream};
use super::run;
use super::scene::{HEAD_BYTES, Routes};
use crate::Field;
use crate::bindings::imports::context::Value;
use crate::export::Exports;

type Answer = Box<dyn FnOnce(&Seen) -> Upstream>;

/// One HTTP exchange through one plugin or more. `GET /` to `odin.test` unless it says otherwise.
pub struct Exchange {
    pub(super) chain: Vec<Link>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) scheme: String,
    pub(super) authority: String,
    pub(super) fields: Vec<Field>,
    pub(super) body: Option<Vec<Vec<u8>>>,
    pub(super) trailers: Vec<Field>,
    pub(super) end_with_last_piece: bool,
    pub(super) upstream: Answer,
    pub(super) max_head_bytes: usize,
    pub(super) routes: Routes,
    pub(super) facts: Vec<(String, Value)>,
    pub(super) context: Vec<(String, Value)>,
    pub(super) connection: Context,
}

impl Exchange {
    /// Through this plugin. `config` is its section: `json!({…})`, any type that serde knows, or `()` for none; one that
    /// the plugin refuses panics.
    pub fn new<P: Exports>(config: impl serde::Serialize) -> Self {
        Self {
            chain: vec![must_load::<P>(config)],
            method: "GET".to_owned(),
            path: "/".to_owned(),
            scheme: "http".to_owned(),
            authority: "odin.test".to_owned(),
            fields: Vec::new(),
            body: None,
            trailers: Vec::new(),
            end_with_last_piece: false,
            upstream: Box::new(|_| Upstream::new(200)),
            max_head_bytes: HEAD_BYTES,
            routes: Routes::default(),
            facts: Vec::new(),
            context: Vec::new(),
            connection: Context::new(),
        }
    }

    /// And then, in route order, through this one.
    pub fn then<P: Exports>(mut self, config: impl serde::Serialize) -> Self {
        self.chain.push(must_load::<P>(config));
        self
    }

    /// The request line.
    pub fn request(mut self, method: &str, path: &str) -> Self {
        (self.method, self.path) = (method.to_owned(), path.to_owned());
        self
    }

    /// `Host`, or `:authority`.
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = authority.to_owned();
        self
    }

    /// `http` or `https`.
    pub fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = scheme.to_owned();
        self
    }

    /// Adds a field of the request.
    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// The request's body, in the pieces in which it comes; the end comes behind the last.
    pub fn body<B: Into<Vec<u8>>>(mut self, pieces: impl IntoIterator<Item = B>) -> Self {
        self.body = Some(pieces.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a field behind the request's body.
    pub fn trailer(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push((name.to_owned(), value.into()));
        self
    }

    /// The last piece of both bodies says itself that it is the last, as it does when the length was known.
    pub fn end_with_last_piece(mut self) -> Self {
        self.end_with_last_piece = true;
        self
    }

    /// What the upstream answers; an empty 200 unless it says otherwise.
    pub fn upstream(mut self, answer: impl FnOnce(&Seen) -> Upstream + 'static) -> Self {
        self.upstream = Box::new(answer);
        self
    }

    /// `on-failure = "open"`, for every plugin so far.
    pub fn fail_open(mut self) -> Self {
        self.chain.iter_mut().for_each(|link| link.set(|rules| rules.on_failure = OnFailure::Open));
        self
    }

    /// `body-limit`, in bytes, for every plugin so far; 1 MiB unless set.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.chain.iter_mut().for_each(|link| link.set(|rules| rules.body_bytes = bytes));
        self
    }

    /// `body-overflow = "partial"`, for every plugin so far.
    pub fn body_overflow_partial(mut self) -> Self {
        self.chain.iter_mut().for_each(|link| link.set(|rules| rules.body_overflow = BodyOverflow::Partial));
        self
    }

    /// How large a head may grow, in bytes; 64 KiB unless set.
    pub fn head_limit(mut self, bytes: usize) -> Self {
        self.max_head_bytes = bytes;
        self
    }

    /// The clusters that there are; any name is one unless this was called.
    pub fn clusters<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.routes.clusters.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A route by path prefix, for `rematch_route`. There is none unless this was called.
    pub fn route(mut self, prefix: &str, cluster: &str) -> Self {
        self.routes.routes.push((prefix.to_owned(), cluster.to_owned()));
        self
    }

    /// A fact of the context, without its `odin.`: `.fact("client-address", "127.0.0.1:5000")`.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// A value that another plugin put into the context.
    pub fn context(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.context.push((name.to_owned(), value.into()));
        self
    }

    /// On the connection of an exchange before: what that left in its context is there.
    pub fn after(mut self, earlier: &Outcome) -> Self {
        self.connection = earlier.connection.clone();
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        run::exchange(self)
    }
}
