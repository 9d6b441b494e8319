//! Plugins of TCP connections: begin and end, bytes both ways, where it goes, and what it costs when nobody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use odin_tests::{Builder, Ending, Odin, PluginEntry, Raw, Script, TcpPeer, body, until, within};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

fn through(plugin: impl Into<PluginEntry>, backend: &TcpPeer) -> Builder {
    Odin::builder().tcp_plugin(plugin).tcp_target(backend)
}

/// The line about the connection that came from here.
async fn logged(odin: &Odin, client: std::net::SocketAddr) -> Value {
    let line = odin.access_log_contains(&[&format!("\"client\":\"{client}\"")]).await;
    serde_json::from_str(&line).expect("a line of JSON")
}

/// Reads until `wanted` is there, and not a byte more.
async fn reads(client: &mut Raw, wanted: &str) {
    let got = client.read(wanted.len()).await;
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[tokio::test]
async fn what_the_client_sends_is_changed_and_both_ways_are_counted() {
    let backend = TcpPeer::echo("welcome\n").await;
    let odin = through("counting_tcp", &backend).logging(&["client", "received", "sent", "closed"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    reads(&mut client, "welcome\n").await;
    for message in ["hello", "still there", "x"] {
        client.send(message).await;
        reads(&mut client, &message.to_uppercase()).await;
    }
    client.finish().await;
    let (rest, ending) = client.rest().await;
    assert_eq!((rest.len(), ending), (0, Ending::Closed));
    let line = logged(&odin, address).await;
    let wanted = serde_json::json!({ "client": address.to_string(), "received": 17, "sent": 25, "closed": true });
    assert_eq!(line["context"], wanted, "{line}");
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&17.into(), &25.into()), "{line}");
    assert!(line.get("error").is_none(), "{line}");
}

#[tokio::test]
async fn pieces_are_replaced_appended_dropped_held_and_skipped() {
    let backend = TcpPeer::echo("").await;
    for (lines, sent, arrives) in [
        (&["pass"][..], "abcd", "abcd"),
        (&["upper"], "abcd", "ABCD"),
        (&["more: pass", "end: append !"], "abcd", "abcd!"),
        (&["more: drop", "end: replace all"], "abcd", "all"),
        (&["more: hold", "upper"], "abcd", "ABCD"),
        (&["hold"], "abcd", "abcd"),
        (&["skip"], "abcd", "abcd"),
    ] {
        for hook in ["downstream-data", "upstream-data"] {
            let odin = through(Script::new().on(hook, lines).plugin("script"), &backend).start().await;
            let mut client = odin.connect_tcp().await;
            client.send(sent).await;
            client.finish().await;
            let (got, ending) = client.rest().await;
            assert_eq!(
                (String::from_utf8_lossy(&got).as_ref(), ending),
                (arrives, Ending::Closed),
                "{lines:?} in {hook}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_held_comes_again_with_what_came_since() {
    let backend = TcpPeer::echo("").await;
    let odin = through("counting_tcp", &backend).start().await;
    let mut client = odin.connect_tcp().await;
    client.send("before").await;
    reads(&mut client, "BEFORE").await;
    client.send("HOLD this ").await;
    client.send("and this").await;
    client.finish().await;
    let (got, _) = client.rest().await;
    assert_eq!(String::from_utf8_lossy(&got), "HOLD THIS AND THIS");
}

#[tokio::test]
async fn a_plugin_may_look_at_the_beginning_and_leave_the_rest_alone() {
    const LENGTH: u64 = 64 << 20;
    let backend = TcpPeer::echo("").await;
    let odin = through("counting_tcp", &backend).logging(&["received"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    client.send("SKIP and lower case").await;
    reads(&mut client, "SKIP and lower case").await;
    client.send("lower case").await;
    reads(&mut client, "lower case").await;
    let (mut reader, mut writer) = client.stream().split();
    let send = async {
        for piece in body::pieces(LENGTH) {
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let receive = async {
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        while let n @ 1.. = reader.read(&mut buffer).await.unwrap() {
            hash.update(&buffer[..n]);
        }
        body::hex(&hash.finalize())
    };
    let ((), digest) = within("64 MiB there and back", async { tokio::join!(send, receive) }).await;
    assert_eq!(digest, body::long_digest(LENGTH));
    let line = logged(&odin, address).await;
    assert_eq!(line["bytes_received"], LENGTH + 29, "{line}");
}

#[tokio::test]
async fn a_connection_is_refused_before_an_endpoint_is_asked() {
    let backend = TcpPeer::echo("welcome\n").await;
    let script = Script::new().on("connect", &["reject not from here"]).plugin("door");
    let odin = through(script, &backend).logging(&["trace"]).start().await;
    for _ in 0..3 {
        Raw::connect_and_end(odin.address("tcp")).await;
    }
    let lines = until("three lines in the access log", async || {
        let lines = odin.access_log().all();
        (lines.len() == 3).then_some(lines)
    });
    for line in lines.await {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["error"].as_str().is_some_and(|error| error.contains("not from here")), "{line}");
        assert_eq!(line["context"]["trace"], "door.connect door.close", "{line}");
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle() {
    let backend = TcpPeer::echo("").await;
    let odin = through("counting_tcp", &backend).logging(&["closed"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    client.send("fine").await;
    reads(&mut client, "FINE").await;
    client.send("CUT it out").await;
    client.ends().await;
    let line = logged(&odin, address).await;
    assert!(line["error"].as_str().is_some_and(|error| error.contains("asked to")), "{line}");
    assert_eq!(line["context"]["closed"], true, "{line}");
}

#[tokio::test]
async fn the_cluster_is_chosen_when_the_connection_begins() {
    let (first, second) = (TcpPeer::echo("first\n").await, TcpPeer::echo("second\n").await);
    let plugin = PluginEntry::new("counting_tcp").with("config = { cluster = \"other\" }").sending_to("other");
    let odin = through(plugin, &first).cluster("other", &second).start().await;
    let mut client = odin.connect_tcp().await;
    reads(&mut client, "second\n").await;
    assert_eq!(first.connections(), 0);
    // A name that is none is the plugin's failure.
    let plugin = PluginEntry::new("counting_tcp").with("config = { cluster = \"nowhere\" }");
    let odin = through(plugin.clone(), &first).start().await;
    Raw::connect_and_end(odin.address("tcp")).await;
    odin.log_contains(&["counting_tcp", "connect"]).await;
    assert_eq!(first.connections(), 0);
    let odin = through(plugin.with("on-failure = \"open\""), &first).start().await;
    reads(&mut odin.connect_tcp().await, "first\n").await;
}

#[tokio::test]
async fn too_late_and_no_route_are_errors() {
    let backend = TcpPeer::echo("").await;
    let script = Script::new().on("connect", &["cluster nowhere", "rematch", "cluster tcp"]);
    let script = script.on("downstream-data", &["1: cluster tcp", "1: rematch"]);
    let odin = through(script.plugin("script").sending_to("tcp"), &backend).logging(&["trace"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    client.send("hello").await;
    reads(&mut client, "hello").await;
    client.finish().await;
    client.rest().await;
    let trace = logged(&odin, address).await["context"]["trace"].as_str().unwrap().to_string();
    assert!(trace.starts_with("script.connect cluster=unknown-cluster rematch=no-route cluster=ok"), "{trace}");
    assert!(trace.contains("script.downstream-data(5) cluster=too-late rematch="), "{trace}");
    assert!(trace.ends_with("script.close"), "{trace}");
}

#[tokio::test]
async fn several_plugins_see_it_in_order_and_back_in_reverse() {
    let backend = TcpPeer::echo("").await;
    let mark = |name: &str| {
        let line = format!("more: append {name}");
        Script::new().on("downstream-data", &[&line]).on("upstream-data", &[&line]).plugin(name)
    };
    let odin = through(mark("a"), &backend).tcp_plugin(mark("b")).logging(&["trace"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    client.send("x").await;
    reads(&mut client, "xabba").await;
    client.finish().await;
    client.rest().await;
    let trace = logged(&odin, address).await["context"]["trace"].as_str().unwrap().to_string();
    assert!(
        trace.starts_with("a.connect b.connect a.downstream-data(1) b.downstream-data(2) b.upstream-data(3)"),
        "{trace}"
    );
    assert!(trace.ends_with("a.close b.close"), "{trace}");
}

#[tokio::test]
async fn each_direction_ends_by_itself_through_hooks() {
    let (sender, mut got) = mpsc::unbounded_channel();
    let backend = TcpPeer::start(move |stream, _| {
        let sender = sender.clone();
        async move {
            let mut connection = Raw::new(stream);
            connection.send("greetings").await;
            let (all, ending) = connection.rest().await;
            let _ = sender.send((String::from_utf8_lossy(&all).into_owned(), ending));
            connection.send(" and the rest").await;
        }
    })
    .await;
    for plugin in [PluginEntry::new("counting_tcp"), Script::new().plugin("script")] {
        let odin = through(plugin, &backend).start().await;
        let mut client = odin.connect_tcp().await;
        reads(&mut client, "greetings").await;
        client.send("ALL I HAD TO SAY").await;
        client.finish().await;
        let (sent, ending) = within("the backend reads to the end", got.recv()).await.unwrap();
        assert_eq!((sent.as_str(), ending), ("ALL I HAD TO SAY", Ending::Closed));
        let (rest, ending) = client.rest().await;
        assert_eq!((String::from_utf8_lossy(&rest).as_ref(), ending), (" and the rest", Ending::Closed));
    }
}

#[tokio::test]
async fn a_reset_goes_through_hooks_and_the_end_is_told() {
    let (sender, mut got) = mpsc::unbounded_channel();
    let backend = TcpPeer::start(move |stream, _| {
        let sender = sender.clone();
        async move {
            let mut connection = Raw::new(stream);
            connection.send("hello").await;
            let _ = sender.send(connection.rest().await.1);
        }
    })
    .await;
    let odin = through(Script::new().plugin("script"), &backend).logging(&["trace"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    reads(&mut client, "hello").await;
    client.reset();
    within("the backend sees the end", got.recv()).await.unwrap();
    let line = logged(&odin, address).await;
    assert!(line["context"]["trace"].as_str().is_some_and(|trace| trace.ends_with("script.close")), "{line}");
}

#[tokio::test]
async fn a_stalled_receiver_stalls_the_sender_through_hooks() {
    const LENGTH: u64 = 64 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let backend = TcpPeer::start(move |mut stream, _| {
        let sent = Arc::clone(&counter);
        async move {
            for piece in body::pieces(LENGTH) {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    })
    .await;
    for plugin in [PluginEntry::new("counting_tcp"), Script::new().on("connect", &["skip-data"]).plugin("script")] {
        sent.store(0, Ordering::Relaxed);
        let odin = through(plugin, &backend).start().await;
        let before = odin.resident_bytes();
        let mut client = odin.connect_tcp().await;
        let (mut last, mut same) = (0, 0);
        until("the sender is stalled", || {
            let now = sent.load(Ordering::Relaxed);
            same = if now == last && now > 0 { same + 1 } else { 0 };
            last = now;
            let done = same >= 100;
            async move { done.then_some(()) }
        })
        .await;
        let grown = odin.resident_bytes().saturating_sub(before);
        println!("{last} bytes under way, {grown} bytes more resident");
        // The rest is in the kernel's buffers.
        assert!(last < LENGTH && grown < 4 << 20, "{last} bytes under way, {grown} more resident");
        let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0; 1 << 20], 0);
        while let Ok(n @ 1..) = within("more", client.stream().read(&mut buffer)).await {
            hash.update(&buffer[..n]);
            length += n as u64;
        }
        assert_eq!((length, body::hex(&hash.finalize())), (LENGTH, body::long_digest(LENGTH)));
    }
}

#[tokio::test]
async fn without_data_hooks_the_relay_is_as_before() {
    const LENGTH: u64 = 256 << 20;
    let backend = TcpPeer::echo("").await;
    let script = Script::new().on("connect", &["skip-data"]).plugin("script");
    let odin = through(script, &backend).logging(&["trace"]).start().await;
    let mut client = odin.connect_tcp().await;
    let address = client.local_address();
    let (mut reader, mut writer) = client.stream().split();
    let send = async {
        for piece in body::pieces(LENGTH) {
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let receive = async {
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        while let n @ 1.. = reader.read(&mut buffer).await.unwrap() {
            hash.update(&buffer[..n]);
        }
        body::hex(&hash.finalize())
    };
    let ((), digest) = within("256 MiB there and back", async { tokio::join!(send, receive) }).await;
    assert_eq!(digest, body::long_digest(LENGTH));
    let line = logged(&odin, address).await;
    assert_eq!(line["context"]["trace"], "script.connect script.close", "{line}");
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&LENGTH.into(), &LENGTH.into()), "{line}");
}

#[tokio::test]
async fn a_plugin_without_a_hook_of_connections_has_no_place_in_a_tcp_listener() {
    let backend = TcpPeer::echo("").await;
    through("headers", &backend).refuses_to_start().await.says(&["headers"]);
}
