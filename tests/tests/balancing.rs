//! Who gets the next request: round robin exact to the request, weights, endpoints that are down, nobody left.

use std::collections::BTreeMap;

use odin_tests::{DeadPort, HttpBackend, Odin, Protocol, Raw, RawBackend, Response, TcpPeer, until};

fn backend_of(response: &Response) -> String {
    response.field("backend").expect("the echo names itself")
}

async fn order(odin: &Odin, requests: usize) -> Vec<String> {
    let mut client = odin.connect().await;
    let mut names = Vec::new();
    for _ in 0..requests {
        names.push(backend_of(&client.get("/").await.has_status(200)));
    }
    names
}

fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    names.into_iter().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn lb_rr_alternates_two_backends_exactly() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_rr").target(&a).target(&b).start().await;
    assert_eq!(order(&odin, 6).await, ["a", "b", "a", "b", "a", "b"]);
    odin.stop().await;
}

#[tokio::test]
async fn without_a_plugin_the_backends_alternate_as_well() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().target(&a).target(&b).start().await;
    assert_eq!(order(&odin, 6).await, ["a", "b", "a", "b", "a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_one_turn() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().workers(2).balancer("lb_rr").target(&a).target(&b).start().await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = odin.connect().await;
        clients.spawn(async move {
            for _ in 0..25 {
                client.get("/").await.has_status(200);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(a.requests() + b.requests(), 400);
    assert!(a.requests().abs_diff(b.requests()) <= 1, "a {}, b {}", a.requests(), b.requests());
}

#[tokio::test]
async fn weights_share_the_turns_in_proportion() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_rr").weighted_target(&a, 3).target(&b).start().await;
    let counts = count(order(&odin, 80).await);
    assert_eq!((counts["a"], counts["b"]), (60, 20));
}

#[tokio::test]
async fn lb_random_uses_every_backend() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_random").target(&a).target(&b).start().await;
    let counts = count(order(&odin, 200).await);
    // Less than 40 of 200 would happen once in 10^18 runs.
    assert!(counts["a"] >= 40 && counts["b"] >= 40, "{counts:?}");
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_request() {
    let (dead, live) = (DeadPort::reserve(), HttpBackend::named("live", Protocol::Http1).await);
    for balancer in ["lb_rr", "lb_random", "lb_first"] {
        let odin = Odin::builder().balancer(balancer).target(&dead).target(&live).start().await;
        assert!(order(&odin, 20).await.iter().all(|name| name == "live"));
    }
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_request_that_has_a_body() {
    let (dead, live) = (DeadPort::reserve(), HttpBackend::echo(Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_first").target(&dead).target(&live).start().await;
    for _ in 0..5 {
        let response = odin.post("/", "precious").await.has_status(200);
        assert_eq!(response.json()["body"], "precious");
    }
}

#[tokio::test]
async fn a_dead_http2_endpoint_costs_no_request() {
    let (dead, live) = (DeadPort::reserve(), HttpBackend::named("live", Protocol::Http2).await);
    let odin = Odin::builder().balancer("lb_first").upstream(Protocol::Http2).target(&dead).target(&live).start().await;
    assert!(order(&odin, 10).await.iter().all(|name| name == "live"));
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_used_again() {
    let (dead, live) = (DeadPort::reserve(), HttpBackend::named("live", Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_rr").target(&dead).target(&live).start().await;
    order(&odin, 4).await;
    let revived = HttpBackend::named_on(dead.revive(), "revived", Protocol::Http1);
    until("the revived endpoint is asked", || async {
        let name = backend_of(&odin.get("/").await.has_status(200));
        (name == "revived").then_some(())
    })
    .await;
    assert_eq!(revived.requests(), 1);
}

#[tokio::test]
async fn when_every_endpoint_is_dead_the_client_is_told() {
    let (one, two) = (DeadPort::reserve(), DeadPort::reserve());
    for builder in [Odin::builder().balancer("lb_rr"), Odin::builder()] {
        let odin = builder.target(&one).target(&two).start().await;
        for response in [odin.get("/").await, odin.post("/", "content").await] {
            assert!(response.status == 502 || response.status == 503, "{response:?}");
            response.has_field("content-type", "text/plain; charset=utf-8").mentions("odin: ");
        }
    }
}

#[tokio::test]
async fn when_the_balancer_picks_none_the_answer_is_503() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().balancer("none_index").target(&backend).start().await;
    odin.get("/").await.has_status(503).mentions("odin: no endpoint");
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_request_that_an_upstream_may_have_seen_is_not_sent_twice() {
    let deaf = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
    })
    .await;
    let other = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().balancer("lb_first").target(&deaf).target(&other).start().await;
    odin.post("/", "once").await.has_status(502);
    assert_eq!((deaf.connections(), other.requests()), (1, 0));
}

#[tokio::test]
async fn tcp_connections_alternate_too() {
    let (a, b) = (TcpPeer::echo("a\n").await, TcpPeer::echo("b\n").await);
    let odin = Odin::builder().balancer("lb_rr").tcp_target(&a).tcp_target(&b).start().await;
    for greeting in ["a\n", "b\n", "a\n", "b\n"] {
        assert_eq!(odin.connect_tcp().await.read(2).await, greeting.as_bytes());
    }
}

#[tokio::test]
async fn a_tcp_connection_to_a_dead_endpoint_goes_to_a_live_one() {
    let (dead, live) = (DeadPort::reserve(), TcpPeer::echo("live\n").await);
    let odin = Odin::builder().balancer("lb_first").tcp_target(&dead).tcp_target(&live).start().await;
    for _ in 0..4 {
        assert_eq!(odin.connect_tcp().await.read(5).await, b"live\n");
    }
}

#[tokio::test]
async fn a_tcp_connection_that_nobody_can_take_is_closed() {
    let dead = DeadPort::reserve();
    let odin = Odin::builder().balancer("lb_rr").tcp_target(&dead).start().await;
    Raw::connect_and_end(odin.address("tcp")).await;
}
