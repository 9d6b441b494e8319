//! Tiny guests in WebAssembly text, each made of the hooks that a test writes, and an exchange to call them with.
//! A guest is a core module with an embedded component type: what cargo leaves of a plugin in Rust.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test's helper")]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use odin_runtime::{
    CallError, ConnectionInfo, Decision, Endpoints, HookState, LoadError, Plugin, PluginSpec, Runtime, RuntimeOptions,
    WorkerPlugin,
};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What every guest may use: imports, a memory, an allocator that forgets at each call, and a few strings.
const PRELUDE: &str = include_str!("prelude.wat");

/// A hook's export, ready to be followed by its body.
pub(crate) const CONFIGURE: &str =
    r#"(func (export "odin:plugin/lifecycle@0.1.0#configure") (param $ptr i32) (param $len i32) (result i32)"#;
pub(crate) const ON_REQUEST: &str =
    r#"(func (export "odin:plugin/request-headers@0.1.0#on-request-headers") (param $head i32) (result i32)"#;
pub(crate) const ON_RESPONSE: &str = r#"(func (export "odin:plugin/response-headers@0.1.0#on-response-headers")
    (param $head i32) (param $request i32) (result i32)"#;
pub(crate) const PICK: &str = r#"(func (export "odin:plugin/balancer@0.1.0#pick")
    (param $endpoints i32) (param $kind i32) (param $subject i32) (result i32)"#;

/// Gives the borrowed request head back, as a guest must.
pub(crate) const DROP_HEAD: &str = "(call $drop-request (local.get $head))";
/// The same for the arguments of `pick`, when it was called for a request.
pub(crate) const DROP_PICK: &str =
    "(call $drop-endpoints (local.get $endpoints)) (call $drop-request (local.get $subject))";
/// Answers `continue`, `ok` or `none`: the first byte of the answer is zero.
pub(crate) const ZERO: &str = "(i32.store (i32.const 0) (i32.const 0)) (i32.const 0))";

/// A request hook that goes on and does nothing else.
pub(crate) fn noop() -> String {
    format!("{ON_REQUEST} {DROP_HEAD} {ZERO}")
}

/// A request hook that reads `user-agent` and sets `x-odin`.
pub(crate) fn get_set() -> String {
    format!(
        "{ON_REQUEST}
          (call $reset)
          (call $get (local.get $head) (i32.const 1024) (i32.const 10) (i32.const 64))
          (call $set (local.get $head) (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))
          {DROP_HEAD} {ZERO}"
    )
}

/// A balancer that takes turns by the shared counter `turn`.
pub(crate) fn round_robin() -> String {
    format!(
        "(global $turn (mut i32) (i32.const -1))
         {PICK}
          (call $reset)
          (if (i32.eq (global.get $turn) (i32.const -1))
            (then (global.set $turn (call $counter (i32.const 1072) (i32.const 4)))))
          (call $nth-eligible (local.get $endpoints)
            (i32.wrap_i64 (i64.rem_u (call $add (global.get $turn) (i64.const 1))
              (i64.extend_i32_u (call $eligible-len (local.get $endpoints)))))
            (i32.const 0))
          {DROP_PICK} (i32.const 0))"
    )
}

/// A balancer that always answers this index.
pub(crate) fn always(index: u32) -> String {
    format!(
        "{PICK} {DROP_PICK} (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const {index})) (i32.const 0))"
    )
}

/// The guest's module: the hooks named, and their code.
pub(crate) fn guest(hooks: &[&str], code: &str) -> Vec<u8> {
    let mut world = "package test:guest;\nworld guest { include odin:plugin/imports@0.1.0;\n".to_owned();
    for hook in hooks {
        world += &format!("export odin:plugin/{hook}@0.1.0;\n");
    }
    world += "}";
    embed(&format!("(module {PRELUDE} {code})"), &world, "guest")
}

/// A module of any text and world.
pub(crate) fn embed(text: &str, wit: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the guest's text is good");
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).expect("wit/ is good");
    let package = resolve.push_str("guest.wit", wit).expect("the guest's world is good");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the type fits in");
    module
}

pub(crate) fn runtime() -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { workers: 2, max_plugins: 2 }).expect("the engine starts")
}

/// How many instances fit the pool of [`runtime`].
pub(crate) const POOL: u32 = 3 * 3 * 2;

/// A plugin with default limits.
pub(crate) fn load(wasm: &[u8]) -> Result<Arc<Plugin>, LoadError> {
    Plugin::load(&runtime(), PluginSpec::new("test"), wasm)
}

/// The first worker's side of a plugin that must load.
pub(crate) fn worker(spec: PluginSpec, wasm: &[u8]) -> WorkerPlugin {
    WorkerPlugin::new(Plugin::load(&runtime(), spec, wasm).expect("the guest loads"), 0)
}

/// A request hook of these lines, called once.
pub(crate) fn call_request(code: &str, state: &mut Box<HookState>) -> Result<Decision, CallError> {
    worker(PluginSpec::new("test"), &guest(&["request-headers"], code)).pin().request_headers(state)
}

/// `GET /path?query` with one field, from a client to `example.com`.
pub(crate) fn exchange() -> Box<HookState> {
    let address: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    let connection = ConnectionInfo { peer: address, local: "192.0.2.2:80".parse().unwrap(), listener: "web".into() };
    let mut state = HookState::new("http", HeaderValue::from_static("example.com"), Rc::new(connection), 1024);
    let request = Request::get("/path?query").header("user-agent", "curl/8").body(()).unwrap();
    state.request = Some(request.into_parts().0);
    state
}

/// The same with a response.
pub(crate) fn answered() -> Box<HookState> {
    let mut state = exchange();
    state.response = Some(Response::builder().header("server", "upstream").body(()).unwrap().into_parts().0);
    state
}

/// So many endpoints, all eligible but those listed.
pub(crate) struct Cluster {
    pub(crate) len: u32,
    pub(crate) failed: Vec<u32>,
    pub(crate) turns: std::sync::atomic::AtomicU64,
}

impl Cluster {
    pub(crate) fn of(len: u32) -> Rc<dyn Endpoints> {
        Rc::new(Cluster { len, failed: Vec::new(), turns: Default::default() })
    }
}

impl Endpoints for Cluster {
    fn len(&self) -> u32 {
        self.len
    }
    fn eligible_len(&self) -> u32 {
        self.len - u32::try_from(self.failed.len()).unwrap()
    }
    fn nth_eligible(&self, n: u32) -> Option<u32> {
        (0..self.len).filter(|&index| self.eligible(index)).nth(n as usize)
    }
    fn turn(&self) -> u64 {
        self.turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
    fn uniform(&self) -> bool {
        true
    }
    fn eligible(&self, index: u32) -> bool {
        assert!(index < self.len, "the runtime checks the index");
        !self.failed.contains(&index)
    }
    fn address(&self, index: u32) -> Cow<'_, str> {
        assert!(index < self.len, "the runtime checks the index");
        format!("192.0.2.{index}:80").into()
    }
    fn weight(&self, _: u32) -> u32 {
        1
    }
    fn healthy(&self, _: u32) -> bool {
        true
    }
    fn active_requests(&self, index: u32) -> u32 {
        index
    }
}
