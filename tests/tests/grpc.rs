//! gRPC through Odin: grpcio's own client and server must not notice that there is a proxy between them, for all four
//! kinds of call, with no plugin and with one that sees every piece of both bodies.
//!
//! What a scenario does, and what its client must see, is in `tests/grpc/client.py`; here are the ways through Odin.

use odin_tests::{Builder, DeadPort, GrpcServer, Odin, PluginEntry, Protocol, Target, grpc_client};
use serde_json::{Value, json};

/// Starts Odin with an HTTP/2 upstream in front of `target`.
async fn in_front_of(target: &impl Target, way: Builder) -> Odin {
    way.workers(2).upstream(Protocol::Http2).target(target).start().await
}

/// The client's report without the fields that Odin adds to the head of a response. When that is all there is of the
/// response (Trailers-Only), grpcio has its fields in the trailing metadata.
fn without_odins_own(mut seen: Value) -> Value {
    let only_head = seen.get("initial").is_none_or(|fields| fields == &json!({}));
    let head = if only_head { "trailing" } else { "initial" };
    if let Some(fields) = seen.get_mut(head).and_then(Value::as_object_mut) {
        fields.retain(|name, _| !["date", "via"].contains(&name.as_str()));
    }
    seen
}

/// Runs the scenario without Odin and then through it: the client sees the same both times.
async fn passes_unchanged(way: Builder, scenario: &str) {
    let server = GrpcServer::start().await;
    let odin = in_front_of(&server, way).await;
    let direct = grpc_client(server.address(), scenario).await;
    let through = grpc_client(odin.address("web"), scenario).await;
    assert_eq!(without_odins_own(through), direct, "left: through Odin; right: without it");
}

/// A client that is gone with a call open: the server hears of it.
async fn ends_upstream_when_the_client_vanishes(way: Builder) {
    let server = GrpcServer::start().await;
    let odin = in_front_of(&server, way).await;
    grpc_client(odin.address("web"), "vanish").await;
    assert!(server.stdout.find_from(0, |line| line == "ended vanished").await.is_some(), "the call went on upstream");
}

/// A server that is gone with a call open: the client sees an error, whichever, and never a call that went well.
async fn fails_when_the_server_dies(way: Builder) {
    let server = GrpcServer::start().await;
    let odin = in_front_of(&server, way).await;
    grpc_client(odin.address("web"), "server_dies").await;
}

/// No server at all is the status that a gRPC client may try again on.
async fn is_unavailable_without_a_server(way: Builder) {
    let dead = DeadPort::reserve();
    let odin = in_front_of(&dead, way).await;
    grpc_client(odin.address("web"), "unavailable").await;
}

/// Every scenario, as a test of its own, through an Odin that is started so.
macro_rules! every_scenario {
    ($way:expr) => {
        every_scenario! { $way;
            unary, empty, client_streaming, server_streaming, large, bidirectional, greeted, fail, fail_late,
            unknown_method, cancel_down, cancel_up, cancel_both, together
        }

        #[tokio::test]
        async fn vanish() {
            ends_upstream_when_the_client_vanishes($way).await;
        }

        #[tokio::test]
        async fn server_dies() {
            fails_when_the_server_dies($way).await;
        }

        #[tokio::test]
        async fn unavailable() {
            is_unavailable_without_a_server($way).await;
        }
    };
    ($way:expr; $($scenario:ident),*) => {
        $(
            #[tokio::test]
            async fn $scenario() {
                passes_unchanged($way, stringify!($scenario)).await;
            }
        )*
    };
}

mod without_plugins {
    use super::*;

    every_scenario!(Odin::builder());
}

/// `pass` has `stream` hooks on both bodies, and passes.
mod through_a_body_hook {
    use super::*;

    every_scenario!(Odin::builder().plugin("pass"));
}

/// `body_probe` adds a trailer to request and response: the client gets it among the server's own, and nothing else
/// changes.
#[tokio::test]
async fn a_trailer_of_a_plugin_joins_the_servers_own() {
    let server = GrpcServer::start().await;
    let probe = PluginEntry::new("body_probe").with("config = \"stream pass, stream pass\"");
    let odin = in_front_of(&server, Odin::builder().plugin(probe)).await;
    for scenario in ["unary", "client_streaming", "server_streaming", "bidirectional"] {
        let direct = grpc_client(server.address(), scenario).await;
        let mut through = grpc_client(odin.address("web"), scenario).await;
        let added = through["trailing"].as_object_mut().and_then(|fields| fields.remove("x-probe-trailer"));
        let calls = added.as_ref().and_then(|values| values[0].as_str()?.parse::<u32>().ok());
        assert!(calls.is_some_and(|calls| calls > 0), "{scenario}: the count of the hook's calls, not {added:?}");
        assert_eq!(without_odins_own(through), direct, "{scenario}; left: through Odin; right: without it");
    }
}
