//! Who gets the next request: round robin exact to the request, weights, endpoints that are down, nobody left.

use std::collections::BTreeMap;

use odin_tests::{DeadPort, HttpBackend, Odin, Protocol, Raw, RawBackend, Response, Target as _, TcpPeer, until};

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
async fn without_a_plugin_weights_count_as_well() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let odin = Odin::builder().weighted_target(&a, 3).target(&b).start().await;
    let order = order(&odin, 80).await;
    assert!(order.windows(4).all(|four| four.iter().any(|name| name == "b")), "no bursts: {order:?}");
    let counts = count(order);
    assert_eq!((counts["a"], counts["b"]), (60, 20));
}

#[tokio::test]
async fn weights_count_for_tcp_connections() {
    let (a, b) = (TcpPeer::echo("a\n").await, TcpPeer::echo("b\n").await);
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         cluster = \"tcp\"\n[clusters.tcp]\nendpoints = [{{ address = \"{}\", weight = 3 }}, \"{}\"]\n",
        a.address(),
        b.address()
    );
    let odin = Odin::builder().with_config(config).start().await;
    for _ in 0..40 {
        odin.connect_tcp().await.read(2).await;
    }
    assert_eq!((a.connections(), b.connections()), (30, 10));
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
async fn an_endpoint_that_hangs_costs_a_request_now_and_then_and_not_each_second_one() {
    let (hangs, live) = (RawBackend::silent().await, HttpBackend::named("live", Protocol::Http1).await);
    for builder in [Odin::builder(), Odin::builder().balancer("lb_rr")] {
        let builder = builder.section("[timeouts]\nresponse = \"200ms\"").target(&hangs).target(&live);
        let odin = builder.start().await;
        let mut client = odin.connect().await;
        let mut late = 0;
        for _ in 0..40 {
            let status = client.get("/").await.status;
            assert!(status == 200 || status == 504, "{status}");
            late += usize::from(status == 504);
        }
        // One, and one more whenever its penalty is over: after 1, 2, 4 ... seconds.
        assert!((1..=8).contains(&late), "{late} of 40 were late");
    }
}

#[tokio::test]
async fn an_endpoint_that_hung_comes_back_with_an_answer() {
    let hangs_once = RawBackend::start(|mut connection, number| async move {
        while connection.head().await.is_some() && number > 0 {
            connection.send("HTTP/1.1 200 OK\r\nbackend: back\r\ncontent-length: 0\r\n\r\n").await;
        }
        connection.rest().await;
    })
    .await;
    let live = HttpBackend::named("live", Protocol::Http1).await;
    let builder = Odin::builder().section("[timeouts]\nresponse = \"200ms\"").target(&hangs_once).target(&live);
    let odin = builder.start().await;
    assert_eq!(odin.get("/").await.status, 504);
    assert_eq!(odin.admin("/clusters").await.json()[0]["endpoints"][0]["healthy"], false);
    until("the endpoint is asked again", || async {
        (backend_of(&odin.get("/").await.has_status(200)) == "back").then_some(())
    })
    .await;
    assert_eq!(odin.admin("/clusters").await.json()[0]["endpoints"][0]["healthy"], true);
    assert_eq!(hangs_once.connections(), 2);
}

#[tokio::test]
async fn a_client_that_stalls_puts_no_endpoint_out() {
    for protocol in odin_tests::BOTH {
        let backend = HttpBackend::echo(protocol).await;
        let builder = Odin::builder().section("[timeouts]\nresponse = \"200ms\"\nidle = \"200ms\"");
        let odin = builder.upstream(protocol).target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nslow").await;
        let line = client.head().await.expect("the client is told").start;
        assert!(line.contains(" 408 ") || line.contains(" 504 "), "{line}");
        assert_eq!(odin.admin("/clusters").await.json()[0]["endpoints"][0]["healthy"], true, "{protocol:?}: {line}");
    }
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
