//! No value ever crosses from one exchange to another: the six processors under two hundred concurrent clients, each
//! with an id of its own in every field, path and body.

use http::Request;
use odin_tests::{BOTH, Connection, HttpBackend, Odin, Protocol, Response, Script, body, echoed, within};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

const CLIENTS: usize = 200;
const TURNS: usize = 20;
/// Streams that run at once on one HTTP/2 connection.
const STREAMS: usize = 10;

/// The chain of six, and one plugin more that asks after the end what the exchange remembers.
async fn chain(upstream: Protocol, isolation: &str) -> (Odin, HttpBackend) {
    let backend = HttpBackend::echo(upstream).await;
    let processors = ["trivial", "timer", "digest", "decorated", "echo", "ctx"];
    let entry = |name: &str| odin_tests::PluginEntry::new(name).with("timeout = \"1s\"").with(isolation);
    let remember = Script::new().on("response-headers", &["recall who", "recall private:who", "show x-remembered"]);
    let remember = remember.plugin("memory").with("timeout = \"1s\"").with(isolation);
    let sets = Script::new().plugin("sets").with("timeout = \"1s\"").with(isolation);
    let builder = processors.iter().fold(Odin::builder(), |builder, name| builder.plugin(entry(name)));
    let builder = builder.plugin(remember).plugin(sets).in_listener("trust-forwarded = true").workers(2);
    (builder.upstream(upstream).target(&backend).start().await, backend)
}

/// The request of one turn: everything in it is about this id.
fn asked(id: &str, turn: usize) -> Request<body::Body> {
    let lines = [format!("remember who text {id}"), format!("remember private:who text {id}")];
    let script = Script::new().on("request-headers", &[&lines[0], &lines[1]]);
    let request = Request::put(format!("/{id}/{turn}?of={id}")).header("x-context-id", id).header("x-request-id", id);
    request.header("x-tenant-id", id).header("x-sets", script.field()).body(body::full(id.to_string())).unwrap()
}

/// Every place where an id shows must show this one.
fn is_own(response: Response, id: &str, turn: usize) {
    let path = format!("/{id}/{turn}?of={id}");
    let digest = body::hex(&Sha256::digest(format!("{id}PUT{path}{id}")));
    let response = response.has_status(200).has_field("x-context-id", id).has_field("x-extra-request-id", id);
    let response = response.has_field("x-request-digest", &digest);
    let remembered = response.field("x-remembered").unwrap();
    assert!(remembered.contains(&format!("recall=who=text:{id} ")), "{id}: {remembered}");
    assert!(remembered.ends_with("recall=private:who=none"), "{id}: {remembered}");
    let seen = response.json();
    assert_eq!((&seen["path"], &seen["body"]), (&path.into(), &id.into()));
    for field in ["x-context-id", "x-request-id", "x-extra-request-id", "x-tenant-id"] {
        assert_eq!(echoed(&seen, field), [id], "{field}");
    }
    assert_eq!(echoed(&seen, "x-request-digest"), [digest]);
}

async fn no_value_crosses(isolation: &str) {
    for upstream in BOTH {
        let (odin, backend) = chain(upstream, isolation).await;
        let address = odin.address("web");
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS / 2 {
            clients.spawn(async move {
                let mut client = Connection::http1(address).await;
                for turn in 0..TURNS {
                    let id = format!("one-{number}");
                    is_own(client.send(asked(&id, turn)).await, &id, turn);
                }
            });
        }
        for connection in 0..CLIENTS / 2 / STREAMS {
            clients.spawn(async move {
                let mut client = Connection::http2(address).await;
                for turn in 0..TURNS {
                    let mut streams = JoinSet::new();
                    for stream in 0..STREAMS {
                        let id = format!("two-{connection}-{stream}");
                        let response = client.begin(asked(&id, turn)).await;
                        streams.spawn(async move { is_own(response.await, &id, turn) });
                    }
                    while let Some(done) = within("the streams end", streams.join_next()).await {
                        done.unwrap();
                    }
                }
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        assert_eq!(backend.requests(), CLIENTS * TURNS);
        assert_eq!(odin.metrics().await.sum("odin_plugin_failures_total", &[]), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_crosses_from_one_exchange_to_another() {
    no_value_crosses("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_an_instance_for_each_exchange() {
    no_value_crosses("isolation = \"fresh\"").await;
}
