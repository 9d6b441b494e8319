//! SIGHUP: the config is read again, what changed changes, what did not is not touched, and a bad file changes nothing.

use odin_tests::load::{Load, Talk};
use odin_tests::{
    Connection, DeadPort, HttpBackend, Odin, PluginEntry, Protocol, Raw, ReservedPort, Target, TcpPeer, paths, until,
    within,
};

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
async fn what_cannot_be_put_to_use_is_told_with_the_line_of_its_section() {
    let (a, port, taken) = (named("a").await, ReservedPort::reserve(), TcpPeer::echo("").await);
    let routes = "[[listeners.routes]]\ncluster = \"c0\"\n";
    let good = format!("steering = \"bind\"\n{}", config(port.number(), routes, &[&a]));
    let odin = Odin::builder().with_config(&good).start().await;
    let next = good.lines().count() + 1;
    let plugin = |name: &str| format!("[plugins.p]\npath = \"{}\"\n", paths::plugin(name).display());
    let listener = |rest: &str| format!("[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n{rest}");
    let busy = format!("[[listeners]]\naddress = \"{}\"\ncluster = \"c0\"\n", taken.address());
    let name = format!("listener \"{}\"", taken.address());
    for (bad, line, words) in [
        (busy, next, [name.as_str(), "in use"]),
        (listener("cluster = \"c0\"\nplugins = [\"p\"]\n") + &plugin("lb_rr"), next, ["listener \"more\"", "no hook"]),
        (
            listener("cluster = \"c0\"\nsteer = \"p\"\n") + &plugin("headers"),
            next,
            ["listener \"more\"", "no steer hook"],
        ),
        (
            format!("[clusters.c1]\nendpoints = [\"{}\"]\nbalancer = \"p\"\n", a.address()) + &plugin("headers"),
            next,
            ["cluster \"c1\"", "no balancer hook"],
        ),
        ("\n[plugins.p]\npath = \"odin.toml\"\n".to_string(), next + 1, ["plugin \"p\"", "not a WebAssembly file"]),
    ] {
        let place = format!("odin.toml:{line}: {}", words[0]);
        odin.reload(&(good.clone() + &bad)).await.has_status(422).mentions(&place).mentions(words[1]);
        // A start says the same.
        let elsewhere = good.replace(&format!(":{}", port.number()), ":0");
        Odin::builder().with_config(elsewhere + &bad).refuses_to_start().await.says(&[&place, words[1]]);
    }
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

#[tokio::test]
async fn one_more_port_that_the_system_chooses_is_one_of_its_own() {
    let (a, b) = (named("a").await, named("b").await);
    let before = config(0, "[[listeners.routes]]\ncluster = \"c0\"\n", &[&a, &b]);
    let odin = Odin::builder().with_config(&before).start().await;
    let more = "[[listeners]]\nname = \"more\"\naddress = \"0.0.0.0:0\"\ncluster = \"c1\"\n";
    odin.reload(&(before.clone() + more)).await.has_status(200);
    let (web, more) = (odin.address("web"), odin.listed("more").await);
    assert_ne!(web.port(), more.port());
    for _ in 0..20 {
        odin.get("/").await.has_field("backend", "a");
        Connection::http1(more).await.get("/").await.has_field("backend", "b");
    }
    // Who waits in the queue of one that goes is served, though another has the same address in the config.
    odin.freeze().await;
    let waiting = Raw::connect(more).await;
    odin.thaw();
    odin.reload(&before).await.has_status(200);
    let mut waiting = waiting;
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(waiting.response("GET").await.expect("it is served").head.status(), 200);
}

#[tokio::test]
async fn a_listener_with_another_name_loses_nobody() {
    let backend = HttpBackend::saying("ok").await;
    for steering in ["bind", "auto"] {
        let port = ReservedPort::reserve();
        let route = "[[listeners.routes]]\ncluster = \"c0\"\n";
        let config = |name: &str| {
            let text = config(port.number(), route, &[&backend]);
            format!("steering = \"{steering}\"\n") + &text.replace("name = \"web\"", &format!("name = \"{name}\""))
        };
        let odin = Odin::builder().with_config(config("web")).start().await;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number()));
        let mut load = Load::default();
        for talk in [Talk::New(Protocol::Http1), Talk::Kept(Protocol::Http1), Talk::New(Protocol::Http2)] {
            load.clients(4, talk, address);
        }
        for turn in 0..20 {
            load.reaches((turn + 1) * 200).await;
            let name = ["site", "web"][turn % 2];
            odin.reload(&config(name)).await.has_status(200);
        }
        let done = load.end().await;
        assert!(done.connections > 20, "{done:?}");
    }
}

#[tokio::test]
async fn a_listener_can_become_one_for_tcp() {
    let (http, echo) = (named("a").await, TcpPeer::echo("hello\n").await);
    let port = ReservedPort::reserve();
    let before = config(port.number(), "[[listeners.routes]]\ncluster = \"c0\"\n", &[&http]);
    let after = before.replace("[[listeners.routes]]\ncluster = \"c0\"\n", "protocol = \"tcp\"\ncluster = \"tcp\"\n")
        + &format!("[clusters.tcp]\nendpoints = [\"{}\"]\n", echo.address());
    let odin = Odin::builder().with_config(&before).start().await;
    let mut kept = odin.connect_raw().await;
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.response("GET").await.unwrap().head.field("connection"), None);
    odin.reload(&after).await.has_status(200);
    // New connections speak the new protocol as soon as the workers were told, and no connect is refused meanwhile.
    until("connections are relayed", async || {
        let mut client = odin.connect_raw().await;
        client.finish().await;
        (client.rest().await.0 == b"hello\n").then_some(())
    })
    .await;
    // The one that began with HTTP goes on with it, and drains.
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let last = kept.response("GET").await.expect("one more answer").head;
    assert_eq!((last.status(), last.field("connection")), (200, Some("close")));
    kept.ends().await;
    // And back again, with a relay that does not end for it.
    let mut relay = odin.connect_raw().await;
    assert_eq!(relay.read(6).await, b"hello\n");
    odin.reload(&before).await.has_status(200);
    until("requests are answered", async || {
        let mut client = odin.connect_raw().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        client.rest().await.0.starts_with(b"HTTP/1.1 200").then_some(())
    })
    .await;
    relay.send("still here").await;
    assert_eq!(relay.read(10).await, b"still here");
}

#[tokio::test]
async fn endpoints_that_stay_keep_their_counters_their_health_and_their_connections() {
    let (a, b, dead) = (named("a").await, named("b").await, DeadPort::reserve());
    let port = ReservedPort::reserve();
    let route = "[[listeners.routes]]\ncluster = \"c0\"\n";
    let config = |endpoints: &[&dyn Target]| {
        let endpoints: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address().to_string()).collect();
        let text = config(port.number(), route, &[&a]).replace("workers = 2", "workers = 1");
        text.replace(&format!("[\"{}\"]", a.address()), &format!("{endpoints:?}\nbalancer = \"lb_first\""))
            + "[plugins.lb_first]\npath = \"lb_first.wasm\"\n"
    };
    // The section of the plugin comes with its file.
    let first = config(&[&dead, &a]).replace("[plugins.lb_first]\npath = \"lb_first.wasm\"\n", "");
    let odin = Odin::builder().with_config(first).plugin_file("lb_first").start().await;
    let clusters = async || odin.admin("/clusters").await.has_status(200).json()[0]["endpoints"].clone();
    let of = |all: &serde_json::Value, target: &dyn Target| {
        let address = target.address().to_string();
        all.as_array().unwrap().iter().find(|one| one["address"] == address.as_str()).cloned()
    };
    let mut client = odin.connect().await;
    for _ in 0..5 {
        client.get("/").await.has_status(200).has_field("backend", "a");
    }
    odin.no_exchange_is_left().await;
    let before = clusters().await;
    let (was_dead, was_a) = (of(&before, &dead).unwrap(), of(&before, &a).unwrap());
    assert_eq!((&was_dead["healthy"], &was_a["requests"], &was_a["connects"]), (&false.into(), &5.into(), &1.into()));
    odin.reload(&config(&[&dead, &a, &b])).await.has_status(200);
    let after = clusters().await;
    assert_eq!((of(&after, &dead), of(&after, &a)), (Some(was_dead), Some(was_a)));
    assert!(of(&after, &b).is_some());
    for _ in 0..5 {
        client.get("/").await.has_status(200).has_field("backend", "a");
    }
    odin.no_exchange_is_left().await;
    assert_eq!(a.connections(), 1, "the pooled connection is used further");
    let now = clusters().await;
    assert_eq!((&of(&now, &a).unwrap()["requests"], &of(&now, &a).unwrap()["connects"]), (&10.into(), &1.into()));
    // And the other way round: what goes is gone, with its connection.
    odin.reload(&config(&[&a])).await.has_status(200);
    let now = clusters().await;
    assert_eq!((of(&now, &dead), of(&now, &b)), (None, None));
    assert_eq!(of(&now, &a).unwrap()["requests"], 10);
    client.get("/").await.has_status(200).has_field("backend", "a");
    assert_eq!(a.connections(), 1);
}

#[tokio::test]
async fn a_port_is_added_to_a_listener_and_taken_from_it() {
    let (a, first, second) = (named("a").await, ReservedPort::reserve(), ReservedPort::reserve());
    let one = config(first.number(), "[[listeners.routes]]\ncluster = \"c0\"\n", &[&a]);
    let list = format!("[\"0.0.0.0:{}\", \"0.0.0.0:{}\"]", first.number(), second.number());
    let two = one.replace(&format!("\"0.0.0.0:{}\"", first.number()), &list);
    let odin = Odin::builder().with_config(&one).start().await;
    let mut kept = odin.connect().await;
    kept.get("/").await.has_status(200);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], second.number()));
    odin.reload(&two).await.has_status(200);
    let mut added = odin_tests::Connection::http1(address).await;
    added.get("/").await.has_status(200);
    kept.get("/").await.has_status(200).lacks_field("connection");
    odin.reload(&one).await.has_status(200);
    until("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err().then_some(())).await;
    // The listener is still there, and so are its connections, whichever port they came by.
    added.get("/").await.has_status(200).lacks_field("connection");
    kept.get("/").await.has_status(200).lacks_field("connection");
    odin.get("/").await.has_status(200);
    let status = odin.steering().await;
    assert_eq!(status.listener("web")["bindings"].as_array().unwrap().len(), 1);
}
