//! Tiny guests in WebAssembly text, each made of the hooks that a test writes, and an exchange to call them with.
//! A guest is a core module with an embedded component type: what cargo leaves of a plugin in Rust.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test's helper")]

use std::borrow::Cow;
use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use odin_chain::{ConnectionInfo, Decision, Endpoints, Hook, HookState};
use odin_runtime::{
    CallError, Capability, Grants, LoadError, Plugin, PluginSpec, Runtime, RuntimeOptions, WorkerPlugin,
};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What every guest may use: imports, a memory, an allocator that forgets at each `$reset`, and a few strings.
const PRELUDE: &str = include_str!("prelude.wat");

/// A hook's export, ready to be followed by its body. Hooks of pieces have `$length` and `$end`.
pub(crate) fn hook(interface: &str, function: &str) -> String {
    let params = match interface {
        "lifecycle" => "(param $ptr i32) (param $len i32)",
        "balancer" => "(param $subject i32)",
        "request-body" | "response-body" | "downstream-data" | "upstream-data" => {
            "(param $length i32) (param $end i32)"
        }
        "steer" => {
            "(param $address i32) (param $address-len i32) (param $listener i32) (param $listener-len i32)
             (param $workers i32) (param $listeners i32) (param $listeners-len i32)"
        }
        _ => "",
    };
    format!(r#"(func (export "odin:plugin/{interface}@0.1.0#{function}") {params} (result i32) "#)
}

pub(crate) fn configure(body: &str) -> String {
    hook("lifecycle", "configure") + body + ZERO
}
pub(crate) fn on_request(body: &str) -> String {
    hook("request-headers", "on-request-headers") + body + ZERO
}
pub(crate) fn on_response(body: &str) -> String {
    hook("response-headers", "on-response-headers") + body + ZERO
}
pub(crate) fn on_body(body: &str) -> String {
    hook("request-body", "on-request-body") + body + ZERO
}
pub(crate) fn pick(body: &str) -> String {
    hook("balancer", "pick") + body + ZERO
}
/// Answers no weights unless the body ends it.
pub(crate) fn weigh(body: &str) -> String {
    hook("steer", "weigh") + body + &answering(&[0, 0, 0]) + ")"
}

/// Answers `ok(continue)`, `ok(pass)`, `ok`, or `ok(none)`: as much of the answer as matters is zero.
pub(crate) const ZERO: &str = "(i64.store (i32.const 0) (i64.const 0)) (i32.const 0))";

/// Ends a hook with these words in memory from 0 on.
pub(crate) fn answering(words: &[u32]) -> String {
    let store = |(at, word): (usize, &u32)| format!("(i32.store (i32.const {}) (i32.const {word}))", at * 4);
    words.iter().enumerate().map(store).collect::<String>() + "(return (i32.const 0))"
}

/// Traps unless the two are equal.
pub(crate) fn expect(left: &str, right: u32) -> String {
    format!("(if (i32.ne {left} (i32.const {right})) (then unreachable)) ")
}

/// Traps unless the byte at this place is this one.
pub(crate) fn expect_byte(at: u32, byte: u32) -> String {
    expect(&format!("(i32.load8_u (i32.const {at}))"), byte)
}

/// A request hook that goes on and does nothing else.
pub(crate) fn noop() -> String {
    on_request("")
}

/// A request hook that reads `user-agent` and sets `x-odin`.
pub(crate) fn get_set() -> String {
    on_request(
        "(call $reset)
         (call $get (i32.const 1024) (i32.const 10) (i32.const 64))
         (call $set (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))",
    )
}

/// Ends `pick` with this index, an `i32` expression.
pub(crate) fn picks(index: &str) -> String {
    format!(
        "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 1)) (i32.store (i32.const 8) {index}) (return (i32.const 0))"
    )
}

/// A balancer that takes turns by the shared counter `turn`.
pub(crate) fn round_robin() -> String {
    let code = "(call $reset)
          (if (i32.eq (global.get $kept) (i32.const -1))
            (then (global.set $kept (call $counter (i32.const 1072) (i32.const 4)))))
          (call $nth-eligible
            (i32.wrap_i64 (i64.rem_u (call $add (global.get $kept) (i64.const 1))
              (i64.extend_i32_u (call $eligible-len))))
            (i32.const 64))";
    format!(
        "(global $kept (mut i32) (i32.const -1)) {}",
        pick(&format!("{code} {}", picks("(i32.load (i32.const 68))")))
    )
}

/// A balancer that always answers this index.
pub(crate) fn always(index: u32) -> String {
    pick(&picks(&format!("(i32.const {index})")))
}

/// The guest's module: the hooks named, and their code. It imports what its code calls.
pub(crate) fn guest(hooks: &[&str], code: &str) -> Vec<u8> {
    let mut world = "package test:guest;\nworld guest { include odin:plugin/imports@0.1.0;\n".to_owned();
    for hook in hooks {
        world += &format!("export odin:plugin/{hook}@0.1.0;\n");
    }
    world += "}";
    let called: HashSet<&str> =
        code.split("(call ").skip(1).filter_map(|rest| rest.split([' ', ')', '\n']).next()).collect();
    let wanted = |line: &&str| match line.strip_prefix("(import ").and_then(|line| line.split_once("(func ")) {
        Some((_, function)) => function.split_whitespace().next().is_some_and(|name| called.contains(name)),
        None => true,
    };
    let prelude: Vec<&str> = PRELUDE.lines().filter(wanted).collect();
    embed(&format!("(module {} {code})", prelude.join("\n")), &world, "guest")
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
    Runtime::new(RuntimeOptions { workers: 2, max_plugins: 2, waiting_calls: WAITING, ..RuntimeOptions::default() })
        .expect("the engine starts")
}

/// Calls that may wait on one worker of [`runtime`].
pub(crate) const WAITING: usize = 40;
/// More instances than fit the pool of [`runtime`].
pub(crate) const POOL: u32 = 3 * 3 * 2 + 2 * (WAITING as u32 + 64) + 4;

/// A plugin with default limits that may use everything but `outbound`.
pub(crate) fn spec(name: &str) -> PluginSpec {
    let grants = Grants { capabilities: Capability::ALL.into(), ..Grants::default() };
    PluginSpec { grants, ..PluginSpec::new(name) }
}

/// The plugin `test` with [`spec`].
pub(crate) fn load(wasm: &[u8]) -> Result<Arc<Plugin>, LoadError> {
    Plugin::load(&runtime(), spec("test"), wasm)
}

/// The first worker's side of a plugin that must load.
pub(crate) fn worker(spec: PluginSpec, wasm: &[u8]) -> WorkerPlugin {
    WorkerPlugin::new(Plugin::load(&runtime(), spec, wasm).expect("the guest loads"), 0, None)
}

/// The first worker's side of the plugin `test` with one hook.
pub(crate) fn worker_of(hook: &str, code: &str) -> WorkerPlugin {
    worker(spec("test"), &guest(&[hook], code))
}

/// The result of a call that has nothing to wait for.
pub(crate) fn now<R>(call: impl Future<Output = R>) -> R {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the call waits"),
    }
}

/// The result of a call that may give way to others: polled until it is there.
pub(crate) fn in_turns<R>(call: impl Future<Output = R>) -> R {
    let mut call = pin!(call);
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

/// Calls a request hook with this code once.
pub(crate) fn call_request(code: &str, state: &mut Box<HookState>) -> Result<Decision, CallError> {
    now(worker_of("request-headers", code).pin().decide(Hook::RequestHeaders, state))
}

/// `GET /path?query` with one field, from a client to `example.com`; the request may be changed.
pub(crate) fn exchange() -> Box<HookState> {
    let address: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    let connection = ConnectionInfo::new(address, "192.0.2.2:80".parse().unwrap(), "web".into());
    let mut state = HookState::new(Arc::new(connection), 1024);
    state.authority = HeaderValue::from_static("example.com");
    let request = Request::get("/path?query").header("user-agent", "curl/8").body(()).unwrap();
    state.request = Some(Box::new(request.into_parts().0));
    state.request_open = true;
    state
}

/// The same with a response, which alone may be changed.
pub(crate) fn answered() -> Box<HookState> {
    let mut state = exchange();
    state.response = Some(Response::builder().header("server", "upstream").body(()).unwrap().into_parts().0);
    state.request_open = false;
    state.response_open = true;
    state
}

/// So many endpoints, all eligible but those listed.
pub(crate) struct Cluster {
    pub(crate) len: u32,
    pub(crate) failed: Vec<u32>,
    pub(crate) turns: std::sync::atomic::AtomicU64,
}

impl Cluster {
    pub(crate) fn of(len: u32) -> Arc<dyn Endpoints> {
        Arc::new(Cluster { len, failed: Vec::new(), turns: Default::default() })
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
    fn eligible_weight(&self) -> u64 {
        self.eligible_len().into()
    }
    fn nth_by_weight(&self, point: u64) -> Option<u32> {
        self.nth_eligible(point.try_into().ok()?)
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
