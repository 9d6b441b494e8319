//! SIGHUP: the config is read again, what changed changes, what did not is not touched, and a bad file changes nothing.

use odin_tests::{HttpBackend, Odin, PluginEntry, Protocol, ReservedPort, Target, TcpPeer, until, within};

/// A config with one HTTP listener on `port` whose routes are these lines.
fn config(port: u16, routes: &str, backends: &[&HttpBackend]) -> String {
    let clusters: String = backends
        .iter()
        .enumerate()
        .map(|(n, backend)| format!("[clusters.c{n}]\nendpoints = [\"{}\"]\n", backend.address()))
        .collect();
    format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"0.0.0.0:{port}\"\n{routes}{clusters}"
    )
}

fn write(odin: &Odin, text: &str) {
    std::fs::write(odin.config_file(), text).unwrap();
    odin.hang_up();
}

async fn named(name: &'static str) -> HttpBackend {
    HttpBackend::named(name, Protocol::Http1).await
}

#[tokio::test]
async fn routes_change_and_connections_live_on() {
    let (a, b, port) = (named("a").await, named("b").await, ReservedPort::reserve());
    let before = config(port.number(), "[[listeners.routes]]\ncluster = \"c0\"\n", &[&a, &b]);
    let after = config(
        port.number(),
        "[[listeners.routes]]\npath = \"/b\"\ncluster = \"c1\"\n[[listeners.routes]]\ncluster = \"c0\"\n",
        &[&a, &b],
    );
    let odin = Odin::builder().with_config(before).start().await;
    let (mut one, mut two) = (odin.connect().await, odin.connect_http2().await);
    for client in [&mut one, &mut two] {
        client.get("/b").await.has_status(200).has_field("backend", "a");
    }
    write(&odin, &after);
    until("the new route serves", || async { (odin.get("/b").await.field("backend")? == "b").then_some(()) }).await;
    for client in [&mut one, &mut two] {
        // The other worker may be a moment behind.
        let changed = async { while client.get("/b").await.has_status(200).field("backend").unwrap() != "b" {} };
        within("the new route serves on an open connection", changed).await;
        client.get("/").await.has_status(200).has_field("backend", "a");
    }
    odin.stop().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_the_log_says_why() {
    let (a, port) = (named("a").await, ReservedPort::reserve());
    let good = config(port.number(), "[[listeners.routes]]\ncluster = \"c0\"\n", &[&a]);
    let odin = Odin::builder().with_config(&good).start().await;
    let mut client = odin.connect().await;
    for (bad, words) in [
        (good.replace("endpoints", "endpionts"), &["endpionts", "endpoints"][..]),
        (good.replace("cluster = \"c0\"", "cluster = \"c9\""), &["c9"]),
        ("this is no TOML".to_string(), &["odin.toml"]),
        (good.clone() + "[plugins.gone]\npath = \"gone.wasm\"\n", &["gone.wasm"]),
    ] {
        let from = odin.log().len();
        write(&odin, &bad);
        odin.log_contains_after(from, words).await;
        client.get("/").await.has_status(200).has_field("backend", "a");
        odin.get("/").await.has_status(200);
    }
    std::fs::remove_file(odin.config_file()).unwrap();
    let from = odin.log().len();
    odin.hang_up();
    odin.log_contains_after(from, &["odin.toml"]).await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn listeners_come_and_go() {
    let (a, first, second) = (named("a").await, ReservedPort::reserve(), ReservedPort::reserve());
    let route = "[[listeners.routes]]\ncluster = \"c0\"\n";
    let one = config(first.number(), route, &[&a]);
    let listener =
        format!("[[listeners]]\nname = \"more\"\naddress = \"0.0.0.0:{}\"\ncluster = \"c0\"\n", second.number());
    let both = one.replace("[clusters.c0]", &format!("{listener}[clusters.c0]"));
    let odin = Odin::builder().with_config(&one).start().await;
    let mut kept = odin.connect().await;
    kept.get("/").await.has_status(200);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], second.number()));
    let listens = || async move { tokio::net::TcpStream::connect(address).await.is_ok() };
    assert!(!listens().await);
    write(&odin, &both);
    until("the second listener is there", || async { listens().await.then_some(()) }).await;
    odin_tests::Connection::http1(address).await.get("/").await.has_status(200);
    write(&odin, &one);
    until("the second listener is gone", || async { (!listens().await).then_some(()) }).await;
    kept.get("/").await.has_status(200);
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn endpoints_change_while_an_exchange_runs() {
    let (feed, content) = odin_tests::body::by_hand();
    let content = std::sync::Mutex::new(Some(content));
    let slow = HttpBackend::start(Protocol::Http1, move |_| {
        let content = content.lock().unwrap().take().unwrap();
        async move { http::Response::new(content) }
    })
    .await;
    let (b, port) = (named("b").await, ReservedPort::reserve());
    let route = "[[listeners.routes]]\ncluster = \"c0\"\n";
    let odin = Odin::builder().with_config(config(port.number(), route, &[&slow])).start().await;
    let mut client = odin.connect().await;
    let request = http::Request::get("/").body(odin_tests::body::empty()).unwrap();
    let response = client.start(request).await;
    write(&odin, &config(port.number(), route, &[&b]));
    until("the new endpoint serves", || async {
        (odin.get("/").await.field("backend").as_deref() == Some("b")).then_some(())
    })
    .await;
    assert!(feed.send("still running").await);
    drop(feed);
    assert_eq!(odin_tests::body::digest(response.into_body()).await.unwrap().0, 13);
}

#[tokio::test]
async fn a_plugin_can_be_added_with_its_config() {
    let backend = named("a").await;
    let odin = Odin::builder().target(&backend).plugin_file("headers").start().await;
    odin.get("/").await.has_status(200).lacks_field("x-odin-response");
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    write(&odin, &text.replace("plugins = []", "plugins = [\"headers\"]"));
    until("the plugin serves", || async { odin.get("/").await.field("x-odin-response").map(drop) }).await;
}

#[tokio::test]
async fn a_plugin_with_a_new_config_is_configured_anew() {
    let backend = named("a").await;
    let probe = PluginEntry::new("probe").with("config = { greeting = \"before\" }");
    let odin = Odin::builder().target(&backend).plugin(probe).start().await;
    let greeting = || async { odin_tests::echoed(&odin.get("/").await.json(), "x-probe-config").remove(0) };
    assert_eq!(greeting().await, "\"before\"");
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    write(&odin, &text.replace("before", "after"));
    until("the plugin has its new config", || async { (greeting().await == "\"after\"").then_some(()) }).await;
}

#[tokio::test]
async fn open_tcp_connections_survive_a_reload() {
    let (one, two) = (TcpPeer::echo("one\n").await, TcpPeer::echo("two\n").await);
    let odin = Odin::builder().tcp_target(&one).start().await;
    let mut open = odin.connect_tcp().await;
    assert_eq!(open.read(4).await, b"one\n");
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    write(&odin, &text.replace(&one.address().to_string(), &two.address().to_string()));
    until("new connections go to the new endpoint", || async {
        (odin.connect_tcp().await.read(4).await == b"two\n").then_some(())
    })
    .await;
    open.send("still here").await;
    assert_eq!(open.read(10).await, b"still here");
}
