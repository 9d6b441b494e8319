//! What a drain meets in the middle of something: it goes on, or is cut, and the access log says which.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::{Request, Response};
use odin_tests::{
    BlackHole, BodyEnd, HttpBackend, Odin, Protocol, Raw, RawBackend, Script, Target, TcpPeer, body, process, until,
};
use rustix::process::Signal;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: chat\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";

/// Sends the head of a GET with these fields.
async fn ask(client: &mut Raw, path: &str, fields: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
}

/// The response began when nobody thought of an end, so it promised the connection; it ends when idle connections are
/// closed already. The client gets to use the connection once more.
async fn one_more_request(ends: impl AsyncFn(&Odin)) {
    let feeds = Arc::new(Mutex::new(Vec::new()));
    let fed = feeds.clone();
    let backend = HttpBackend::start(Protocol::Http1, move |request| {
        let (feed, content) = body::by_hand();
        let content = match request.uri().path() {
            "/long" => {
                fed.lock().unwrap().push(feed);
                content
            }
            _ => body::full("once more"),
        };
        async move { Response::new(content) }
    })
    .await;
    let mut odin = Odin::builder().target(&backend).start().await;
    let first = odin.pid();
    let mut clients = Vec::new();
    for fields in ["", "", "Connection: close\r\n"] {
        let mut client = odin.connect_raw().await;
        ask(&mut client, "/long", fields).await;
        backend.has_seen(clients.len() + 1).await;
        let last = || feeds.lock().unwrap().pop().unwrap();
        let feed = last();
        assert!(feed.send("long").await);
        let head = client.head().await.unwrap();
        assert_eq!(head.field("connection"), (!fields.is_empty()).then_some("close"));
        clients.push((client, head, feed));
    }
    let mut unused = odin.connect_raw().await;
    ends(&odin).await;
    // From here on, connections end as soon as they are idle.
    unused.ends().await;
    let mut kept = Vec::new();
    // The first one last: from the end of its response on, its client has only a second to use the connection.
    for (mut client, head, feed) in clients.into_iter().rev() {
        drop(feed);
        let (content, _, end) = client.body(&head, "GET").await;
        assert_eq!((content.as_slice(), end), (&b"long"[..], BodyEnd::Complete));
        match head.field("connection") {
            Some(_) => drop(client.ends().await),
            None => kept.push(client),
        }
    }
    let (mut does_not, mut uses_it) = (kept.remove(0), kept.remove(0));
    uses_it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    let last = uses_it.response("POST").await.expect("one more answer");
    assert_eq!((last.head.status(), last.head.field("connection")), (200, Some("close")));
    assert_eq!((last.body.as_slice(), last.end), (&b"once more"[..], BodyEnd::Complete));
    uses_it.ends().await;
    does_not.ends().await;
    assert_eq!(odin.exit_code(first).await, Some(0));
}

#[tokio::test]
async fn a_response_that_ends_late_in_an_upgrade_leaves_room_for_one_more_request() {
    one_more_request(async |odin| _ = odin.upgrade().await).await;
}

#[tokio::test]
async fn a_response_that_ends_after_sigterm_leaves_room_for_one_more_request() {
    one_more_request(async |odin| odin.terminate()).await;
}

#[tokio::test]
async fn what_a_drain_cuts_is_blamed_on_the_drain() {
    let backend = RawBackend::start(|mut connection, _| async move {
        let head = connection.head().await.unwrap();
        match head.path() {
            "/switched" => connection.send(SWITCH).await,
            path if path.starts_with("/half") => {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await
            }
            _ => {}
        }
        connection.rest().await;
    })
    .await;
    let odin = Odin::builder().top("drain-timeout = \"1s\"").target(&backend).logging(&[]).start().await;
    let mut clients = Vec::new();
    for (path, fields) in [("/switched", UPGRADE), ("/half", ""), ("/unanswered", "")] {
        let mut client = odin.connect_raw().await;
        ask(&mut client, path, fields).await;
        if path != "/unanswered" {
            client.head().await.expect("a head");
        }
        clients.push(client);
    }
    let mut two = odin.connect_http2().await;
    for path in ["/half-of-two", "/unanswered-of-two"] {
        let asked = two.begin(Request::get(path).body(body::empty()).unwrap()).await;
        tokio::spawn(asked);
    }
    until("all requests are there", async || (backend.connections() == 5).then_some(())).await;
    odin.upgrade().await;
    for (path, status) in
        [("/switched", 101), ("/half", 200), ("/unanswered", 503), ("/half-of-two", 200), ("/unanswered-of-two", 503)]
    {
        let line = odin.logged(path).await;
        assert_eq!((&line["error"], &line["blame"]), (&"the drain was over".into(), &"odin".into()), "{line}");
        assert_eq!(line["status"], status, "{line}");
    }
    for mut client in clients {
        client.rest().await;
    }
}

#[tokio::test]
async fn a_connection_that_a_drain_cuts_before_it_is_relayed_has_its_line_too() {
    let nobody = BlackHole::open();
    let http = HttpBackend::saying("ok").await;
    let slow = "[timeouts]\nconnect = \"60s\"";
    let odin = Odin::builder().top("drain-timeout = \"1s\"").target(&http).tcp_target(&nobody).section(slow);
    let odin = odin.start().await;
    let mut client = odin.connect_tcp().await;
    // Accepted in their order, so that the first one is there when the second one is served.
    odin.get("/").await.has_status(200);
    odin.upgrade().await;
    client.ends().await;
    let line = odin.access_log_contains(&["TCP", &nobody.address().to_string()]).await;
    assert!(line.contains("error=\"the drain was over\""), "{line}");
}

#[tokio::test]
async fn plugins_are_told_of_an_exchange_that_ends_with_the_process() {
    let backend = RawBackend::stalling_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let odin = Odin::builder().top("shutdown-grace = \"100ms\"").plugin(Script::new().plugin("script"));
    let mut odin = odin.logging(&["trace"]).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    ask(&mut client, "/cut", "").await;
    client.head().await.unwrap();
    let pid = odin.pid();
    process::signal(pid, Signal::TERM);
    odin.exit_code(pid).await;
    let trace = odin.trace("/cut").await;
    assert!(trace.iter().any(|word| word == "script.exchange-end"), "{trace:?}");
}

#[tokio::test]
async fn the_end_of_a_tunnel_is_in_the_access_log() {
    let backend = RawBackend::start(|mut connection, _| async move {
        let head = connection.head().await.unwrap();
        connection.send(SWITCH).await;
        match head.path() {
            "/upstream" => connection.reset(),
            _ => drop(connection.rest().await),
        }
    })
    .await;
    let idle = "[timeouts]\ntcp-idle = \"500ms\"";
    let odin = Odin::builder().target(&backend).logging(&[]).section(idle).start().await;
    for (path, blame, words) in [
        ("/idle", Some("downstream"), "idle timeout"),
        ("/upstream", Some("upstream"), "upstream: "),
        ("/client", Some("downstream"), "downstream: "),
        ("/regular", None, ""),
    ] {
        let mut client = odin.connect_raw().await;
        ask(&mut client, path, UPGRADE).await;
        assert_eq!(client.head().await.unwrap().status(), 101);
        match path {
            "/client" => client.reset(),
            "/regular" => {
                client.finish().await;
                client.ends().await;
            }
            _ => drop(client.ends().await),
        }
        let line = odin.logged(path).await;
        assert_eq!(line["blame"].as_str(), blame, "{line}");
        assert!(line["error"].as_str().unwrap_or("").starts_with(words), "{line}");
        assert_eq!(line["status"], 101, "{line}");
    }
}

#[tokio::test]
async fn to_stop_an_old_process_never_makes_it_live_longer() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
    let times = "drain-timeout = \"7s\"\nshutdown-grace = \"6s\"";
    let mut odin = Odin::builder().top(times).target(&http).tcp_target(&echo).start().await;
    let (mut relay, mut idle) = (odin.connect_tcp().await, odin.connect_raw().await);
    relay.send("hello").await;
    assert_eq!(relay.read(5).await, b"hello");
    let first = odin.pid();
    odin.upgrade().await;
    let started = Instant::now();
    // Closed after five seconds.
    idle.ends().await;
    process::signal(first, Signal::TERM);
    relay.rest().await;
    // Six more would be eleven.
    assert!(started.elapsed().as_secs() < 10, "it lived for {:?}", started.elapsed());
    assert_eq!(odin.exit_code(first).await, Some(0));
}
