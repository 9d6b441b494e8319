//! Plugins that misbehave: each costs its own exchange, says clearly why, and nobody else notices.

use http::Request;
use odin_tests::{DeadPort, HttpBackend, Odin, PluginEntry, Protocol, Raw, TcpPeer, body, echoed, paths, within};

/// Sends one request that the plugin spoils while another is under way; answers nothing but fails unless the spoiled one
/// is a 502, the other goes on untouched, and the log has one line with these words.
async fn spoils_only_its_own(plugin: PluginEntry, spoilt: Request<body::Body>, log: &[&str]) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[listeners.routes]]\npath = \"/bad\"\ncluster = \"web\"\nplugins = [\"hostile\"]\n\
         [[listeners.routes]]\ncluster = \"web\"\n\
         [clusters.web]\nendpoints = [\"{}\"]\n",
        odin_tests::Target::address(&backend)
    );
    let odin = Odin::builder().with_config(config).plugin_file(plugin.called("hostile")).start().await;

    let (feed, half_sent) = body::by_hand();
    let mut other = odin.connect().await;
    let under_way = tokio::spawn(async move { other.send(Request::post("/good").body(half_sent).unwrap()).await });
    assert!(feed.send("begun ").await);
    backend.has_seen(1).await;

    let mut client = odin.connect().await;
    client.send(spoilt).await.has_status(502).has_body("odin: plugin failed\n");
    odin.log_contains(&["hostile"]).await;
    odin.log_contains(log).await;
    odin.access_log_contains(&["/bad", "502"]).await;
    assert_eq!(backend.requests(), 1, "the spoilt request went upstream");

    // The same connection and the same plugin go on.
    client.get("/good").await.has_status(200);
    client.get("/bad").await;
    assert!(feed.send("and ended").await);
    drop(feed);
    let response = within("the exchange under way", under_way).await.unwrap().has_status(200);
    assert_eq!(response.json()["body"], "begun and ended");
    assert!(odin.metrics().await.names().iter().any(|name| name.starts_with("odin_plugin_")));
    odin.stop().await;
}

fn bad() -> Request<body::Body> {
    Request::get("/bad").body(body::empty()).unwrap()
}

#[tokio::test]
async fn one_that_loops_for_ever_is_stopped() {
    spoils_only_its_own("loop_forever".into(), bad(), &["hostile", "request-headers", "10"]).await;
}

#[tokio::test]
async fn one_that_allocates_without_end_is_stopped() {
    let plugin = PluginEntry::new("bomb").with("timeout = \"5s\"");
    spoils_only_its_own(plugin, bad(), &["hostile", "request-headers", "memory"]).await;
}

#[tokio::test]
async fn one_that_recurses_without_end_is_stopped() {
    let plugin = PluginEntry::new("recurse").with("timeout = \"5s\"");
    spoils_only_its_own(plugin, bad(), &["hostile", "request-headers", "stack"]).await;
}

#[tokio::test]
async fn one_that_traps_is_named_with_its_backtrace() {
    let spoilt = Request::get("/bad").header("x-trap", "now").body(body::empty()).unwrap();
    spoils_only_its_own("trap".into(), spoilt, &["fall_into_the_trap"]).await;
}

#[tokio::test]
async fn one_that_makes_the_host_allocate_without_end_is_stopped() {
    let spoilt = Request::get("/bad").header("user-agent", "x".repeat(4000)).body(body::empty()).unwrap();
    spoils_only_its_own("greedy".into(), spoilt, &["hostile", "request-headers"]).await;
}

#[tokio::test]
async fn one_whose_reply_sets_its_own_framing_is_refused() {
    let spoilt = Request::get("/bad").header("x-framing", "yes").body(body::empty()).unwrap();
    spoils_only_its_own("reply".into(), spoilt, &["hostile", "request-headers", "content-length"]).await;
}

#[tokio::test]
async fn one_whose_reply_has_no_valid_status_is_refused() {
    let spoilt = Request::get("/bad").header("x-status", "101").body(body::empty()).unwrap();
    spoils_only_its_own("reply".into(), spoilt, &["hostile", "request-headers", "101"]).await;
}

#[tokio::test]
async fn one_that_traps_on_the_response_costs_that_response() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("trap").target(&backend).start().await;
    let mut client = odin.connect().await;
    let request = Request::get("/").header("x-trap-response", "now").body(body::empty()).unwrap();
    client.send(request).await.has_status(502).has_body("odin: plugin failed\n");
    odin.log_contains(&["\"trap\"", "response-headers", "trapped"]).await;
    client.get("/").await.has_status(200);
}

#[tokio::test]
async fn with_on_failure_open_the_exchange_goes_on_without_the_plugin() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for (guest, field) in [("loop_forever", "x-any"), ("bomb", "x-any"), ("recurse", "x-any"), ("trap", "x-trap")] {
        let plugin = PluginEntry::new(guest).with("on-failure = \"open\"");
        let odin = Odin::builder().plugin(plugin).plugin("headers").target(&backend).start().await;
        let request = Request::get("/").header(field, "now").body(body::empty()).unwrap();
        let response = odin.request(request).await.has_status(200);
        assert_eq!(echoed(&response.json(), "x-odin"), ["none"], "the plugin after {guest} ran");
        odin.log_contains(&[guest, "request-headers"]).await;
    }
}

#[tokio::test]
async fn a_response_hook_that_traps_open_lets_the_response_through() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("trap").with("on-failure = \"open\"");
    let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
    let request = Request::get("/").header("x-trap-response", "now").body(body::empty()).unwrap();
    odin.request(request).await.has_status(200);
}

#[tokio::test]
async fn a_balancer_that_answers_an_index_out_of_range_costs_its_exchange() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().balancer("bad_index").target(&backend).start().await;
    odin.get("/").await.has_status(502).has_body("odin: plugin failed\n");
    odin.log_contains(&["\"bad_index\"", "balancer", "1"]).await;
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_balancer_that_answers_an_index_out_of_range_costs_its_tcp_connection() {
    let backend = TcpPeer::echo("hello\n").await;
    let odin = Odin::builder().balancer("bad_index").tcp_target(&backend).start().await;
    Raw::connect_and_end(odin.address("tcp")).await;
    odin.log_contains(&["\"bad_index\"", "balancer"]).await;
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_plugin_in_fresh_isolation_does_the_same() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let fresh = |name| PluginEntry::new(name).with("isolation = \"fresh\"");
    let odin = Odin::builder().plugin(fresh("trap")).plugin(fresh("headers")).target(&backend).start().await;
    let mut client = odin.connect().await;
    for _ in 0..3 {
        let request = Request::get("/").header("x-trap", "now").body(body::empty()).unwrap();
        client.send(request).await.has_status(502);
        let response = client.get("/").await.has_status(200).has_field("x-odin-response", "yes");
        assert_eq!(echoed(&response.json(), "x-odin"), ["none"]);
    }
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_at_the_start_with_the_reason() {
    let dead = DeadPort::reserve();
    let start = |plugin: PluginEntry| Odin::builder().plugin(plugin).target(&dead).refuses_to_start();
    start(PluginEntry::of_bytes("notes", "just a text file\n")).await.says(&["notes", "not a WebAssembly file"]);
    start(PluginEntry::of_bytes("empty", "")).await.says(&["empty"]);
    start(PluginEntry::of_bytes("cut", &paths::plugin_bytes("headers")[..1000])).await.says(&["cut"]);
    start(PluginEntry::missing("gone")).await.says(&["gone"]);
    start("other_world".into()).await.says(&["other_world", "elsewhere:greeter/names"]);
    start(PluginEntry::new("refuse_config").with("config = { a = 1 }"))
        .await
        .says(&["refuse_config", "no config is good enough, least of all {\"a\":1}"]);
    start(PluginEntry::new("loop_forever").with("config = \"loop\"")).await.says(&["loop_forever", "configure"]);
}

#[tokio::test]
async fn a_route_that_names_a_plugin_without_its_hooks_is_refused_at_the_start() {
    let dead = DeadPort::reserve();
    let odin = Odin::builder().balancer("headers").target(&dead);
    odin.refuses_to_start().await.says(&["headers", "balancer"]);
}
