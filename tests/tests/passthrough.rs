//! TLS that is not decrypted: where it goes by name and protocol, that its bytes arrive as they were, and what those get
//! who go nowhere.

mod tls_peer;

use std::process::Stdio;

use odin_tests::{Ending, Odin, Raw, Script, TcpPeer, skipped, until, within};
use serde_json::Value;
use tls_peer::{connect, greeted, hello, in_records, pem, serving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A route of the listener `tls` for each: the keys that say what it matches, and the server.
fn config(routes: &[(&str, &TcpPeer)], more: &str) -> String {
    use odin_tests::Target as _;
    let mut text = "admin = '127.0.0.1:0'\nworkers = 1\n[[listeners]]\nname = 'tls'\nprotocol = 'tls'\n\
                    address = '127.0.0.1:0'\n"
        .to_owned()
        + more;
    for (at, (matches, _)) in routes.iter().enumerate().filter(|(_, (matches, _))| *matches != "own") {
        text += &format!("[[listeners.routes]]\n{matches}\ncluster = 'c{at}'\n");
    }
    for (at, (_, server)) in routes.iter().enumerate() {
        text += &format!("[clusters.c{at}]\nendpoints = ['{}']\n", server.address());
    }
    text
}

fn line(text: &str) -> Value {
    serde_json::from_str(text).expect("a line of JSON")
}

#[tokio::test]
async fn a_client_comes_to_the_server_of_its_name_and_protocol() {
    let servers = [
        ("own", "any", &["h2", "http/1.1"][..]),
        ("sni = 'a.example'", "a", &["h2", "http/1.1"]),
        ("sni = 'A.Example.'\nalpn = ['h2']", "a-h2", &["h2"]),
        ("sni = '*.example'", "wild", &[]),
        ("sni = '*.b.example'", "wild-b", &[]),
        ("sni = 'x.b.example'\nalpn = ['mqtt', 'acme-tls/1']", "x-mqtt", &["mqtt", "acme-tls/1"]),
        ("alpn = ['imap']", "imap", &["imap"]),
    ];
    let mut peers = Vec::new();
    for (matches, name, alpn) in servers {
        peers.push((matches, tls_peer::server(name, alpn).await));
    }
    let routes: Vec<_> = peers.iter().map(|(matches, peer)| (*matches, peer)).collect();
    let odin = Odin::builder().with_config(config(&routes, "cluster = 'c0'\n")).start().await;
    let cases: [(&str, &[&str], &str); 16] = [
        ("a.example", &[], "a"),
        ("A.EXAMPLE", &[], "a"),
        ("a.example", &["http/1.1"], "a"),
        ("a.example", &["h2"], "a-h2"),
        ("a.example", &["http/1.1", "h2"], "a-h2"),
        ("a.example", &["h2", "http/1.1"], "a-h2"),
        ("b.example", &[], "wild"),
        ("b.example", &["h2"], "wild"),
        ("y.b.example", &[], "wild-b"),
        ("z.c.b.example", &[], "wild-b"),
        ("x.b.example", &[], "wild-b"),
        ("x.b.example", &["acme-tls/1"], "x-mqtt"),
        ("x.b.example", &["other", "mqtt"], "x-mqtt"),
        ("nobody.test", &[], "any"),
        ("nobody.test", &["imap"], "imap"),
        ("127.0.0.1", &[], "any"),
    ];
    for (name, alpn, server) in cases {
        assert_eq!(greeted(odin.address("tls"), name, alpn).await.as_deref(), Ok(server), "{name} {alpn:?}");
    }
    odin.ends_without_errors().await;
}

#[tokio::test]
async fn the_bytes_arrive_as_they_were_however_they_come() {
    let echo = TcpPeer::echo("").await;
    let odin = Odin::builder().with_config(config(&[("sni = 'a.example'\nalpn = ['h2']", &echo)], "")).start().await;
    let whole = hello("a.example", &["h2", "http/1.1"]);
    let mut inputs: Vec<(String, Vec<u8>, usize)> = Vec::new();
    for size in [1, 2, 5, 6, 100, 1000, 1400, usize::MAX] {
        inputs.push((format!("in pieces of {size}"), whole.clone(), size));
    }
    for record in [1, 3, 4, 50, 1000] {
        for size in [1, 64, usize::MAX] {
            let bytes = in_records(&whole, record);
            inputs.push((format!("in records of {record} and pieces of {size}"), bytes, size));
        }
    }
    // What a client with early data sends behind its hello.
    inputs.push(("with more behind it".to_owned(), [&whole[..], &[23, 3, 3, 0, 2, 1, 2]].concat(), usize::MAX));
    inputs.push(("with more in bytes".to_owned(), [&whole[..], &[20, 3, 3, 0, 1, 1]].concat(), 1));
    assert!(inputs.len() >= 25);
    for (how, bytes, size) in inputs {
        let mut client = Raw::connect(odin.address("tls")).await;
        for piece in bytes.chunks(size) {
            client.send(piece).await;
        }
        assert!(client.read(bytes.len()).await == bytes, "{how}");
        client.send("and what follows").await;
        assert_eq!(client.read(16).await, b"and what follows", "{how}");
        client.finish().await;
        assert_eq!(client.ends().await, Ending::Closed, "{how}");
    }
    // One that ends right behind its hello still gets the answer.
    let mut client = Raw::connect(odin.address("tls")).await;
    client.send(&whole).await;
    client.finish().await;
    assert!(client.rest().await == (whole, Ending::Closed));
}

/// Fatal alerts (RFC 8446, section 6).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// What is sent, by a name, and the alert that comes back; none for any.
type Case<'a> = (&'a str, Vec<u8>, Option<&'a [u8]>);

#[tokio::test]
async fn who_goes_nowhere_gets_an_alert_and_the_connection_is_closed() {
    let echo = TcpPeer::echo("").await;
    let odin = Odin::builder().with_config(config(&[("sni = 'a.example'\nalpn = ['h2']", &echo)], "")).start().await;
    let good = hello("a.example", &["h2"]);
    let mut server_hello = good.clone();
    server_hello[5] = 2;
    let mut large = good.clone();
    large[6] = 1;
    let endless = [&[22, 3, 1, 0, 4, 1, 0, 255, 255][..], &[22, 3, 1, 0, 1, 0].repeat(20_000)].concat();
    let mut name = good.clone();
    let at = name.windows(9).position(|window| window == b"a.example").unwrap();
    name[at] = b'!';
    let mut short = good.clone();
    // The extension says that its name is longer than it is.
    short[at - 1] += 1;
    let cases: [Case<'_>; 16] = [
        ("another name", hello("b.example", &["h2"]), Some(UNRECOGNIZED_NAME)),
        ("a name below", hello("x.a.example", &["h2"]), Some(UNRECOGNIZED_NAME)),
        ("another protocol", hello("a.example", &["http/1.1"]), Some(UNRECOGNIZED_NAME)),
        ("no protocol", hello("a.example", &[]), Some(UNRECOGNIZED_NAME)),
        ("no name", hello("127.0.0.1", &["h2"]), Some(UNRECOGNIZED_NAME)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(), None),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), None),
        ("SSL 2.0", vec![0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16, 1, 0, 0x80, 0, 0, 3, 0, 0, 5, 0, 0, 6], None),
        ("no record", vec![0xff; 100], None),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40], None),
        ("data", vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5], None),
        ("a ServerHello", server_hello, None),
        ("more than 64 KiB", large, None),
        ("an endless one", endless, None),
        ("a name that is none", name, None),
        ("a name with a wrong length", short, None),
    ];
    for (what, bytes, alert) in cases {
        for size in [1, usize::MAX] {
            if size == 1 && bytes.len() > 10_000 {
                continue;
            }
            let mut client = Raw::connect(odin.address("tls")).await;
            for piece in bytes.chunks(size) {
                client.send(piece).await;
            }
            let (got, ending) = client.rest().await;
            assert_eq!(
                (got.len(), &got[..6], ending),
                (7, &[21, 3, 3, 0, 2, 2][..], Ending::Closed),
                "{what}: {got:?}"
            );
            assert!(alert.is_none_or(|alert| got == alert), "{what}: {got:?}");
        }
    }
    assert_eq!(echo.connections(), 0);
    odin.access_log_contains(&["error=", "no route for the name", "b.example"]).await;
    odin.access_log_contains(&["error=", "no route for a client that names no server"]).await;
    let refused = greeted(odin.address("tls"), "b.example", &[]).await.unwrap_err();
    assert!(refused.contains("UnrecognizedName") || refused.contains("UnrecognisedName"), "{refused}");
}

#[tokio::test]
async fn a_client_that_says_too_little_is_closed_in_time() {
    let echo = TcpPeer::echo("").await;
    let more = "cluster = 'c0'\n";
    let text = config(&[("own", &echo)], more) + "[timeouts]\nheader = '200ms'\n";
    let odin = Odin::builder().with_config(text).start().await;
    let whole = hello("a.example", &[]);
    for sent in [0, 1, 5, 6, 100, whole.len() - 1] {
        let mut client = Raw::connect(odin.address("tls")).await;
        client.send(&whole[..sent]).await;
        client.ends().await;
        // And one that goes.
        let mut client = Raw::connect(odin.address("tls")).await;
        client.send(&whole[..sent]).await;
        client.finish().await;
        client.ends().await;
    }
    assert_eq!(echo.connections(), 0);
    odin.access_log_contains(&["error=", "did not come in time"]).await;
    odin.access_log_contains(&["error=", "has gone before its ClientHello"]).await;
    assert_eq!(greeted_by_echo(&odin).await, whole.len());
}

/// The bytes of a hello that come back.
async fn greeted_by_echo(odin: &Odin) -> usize {
    let whole = hello("a.example", &[]);
    let mut client = Raw::connect(odin.address("tls")).await;
    client.send(&whole).await;
    client.read(whole.len()).await.len()
}

#[tokio::test]
async fn plugins_meet_such_a_connection_as_any_other_and_know_the_name() {
    let server = tls_peer::server("a", &[]).await;
    for look in [false, true] {
        let script = match look {
            true => Script::new().on("downstream-data", &["more: pass"]),
            false => Script::new(),
        };
        let text = config(&[("sni = '*.example'\nplugins = ['script']", &server)], "")
            + "[access-log]\nformat = 'json'\ncontext = ['trace', 'odin.tls.sni', 'odin.tls', 'odin.route']\n";
        let odin = Odin::builder().with_config(text).plugin_file(script.plugin("script")).start().await;
        assert_eq!(greeted(odin.address("tls"), "Big.example", &[]).await.as_deref(), Ok("a"));
        let line = line(&odin.access_log_contains(&["script.close"]).await);
        let context = &line["context"];
        assert_eq!(context["odin.tls.sni"], "big.example", "{line}");
        assert_eq!((&context["odin.tls"], &context["odin.route"]), (&true.into(), &"sni *.example".into()), "{line}");
        assert!(context["trace"].as_str().unwrap().starts_with("script.connect"), "{line}");
        assert!(line["bytes_received"].as_u64().unwrap() > 1400, "{line}");
        let listener = [("listener", "tls")];
        until("it is counted", async || {
            let metrics = odin.metrics().await;
            (metrics.sum("odin_received_bytes_total", &listener) > 1400.0).then_some(())
        })
        .await;
        odin.ends_without_errors().await;
    }
    let text = config(&[("sni = '*.example'\nplugins = ['script']", &server)], "");
    let refusing = Script::new().on("connect", &["reject no"]);
    let odin = Odin::builder().with_config(text).plugin_file(refusing.plugin("script")).start().await;
    assert!(connect(odin.address("tls"), "a.example", &[]).await.is_err());
}

#[tokio::test]
async fn much_goes_through_both_ways() {
    const MUCH: usize = 32 << 20;
    let server = serving(&[], |mut stream| async move {
        let mut read = vec![0; MUCH];
        stream.read_exact(&mut read).await.unwrap();
        stream.write_all(&read).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let odin = Odin::builder().with_config(config(&[("sni = 'a.example'", &server)], "")).start().await;
    let sent: Vec<u8> = (0..MUCH).map(|at| (at % 251) as u8).collect();
    let mut client = connect(odin.address("tls"), "a.example", &[]).await.unwrap();
    let mut got = Vec::new();
    within("all of it", async {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        client.read_to_end(&mut got).await.unwrap();
    })
    .await;
    assert!(got == sent);
}

#[tokio::test]
async fn a_reload_changes_where_new_connections_go() {
    let (a, b) = (tls_peer::server("a", &[]).await, tls_peer::server("b", &[]).await);
    let odin = Odin::builder().with_config(config(&[("sni = 'a.example'", &a)], "")).start().await;
    let mut open = connect(odin.address("tls"), "a.example", &[]).await.unwrap();
    let after = config(&[("sni = 'a.example'", &b), ("alpn = ['x']", &a)], "");
    let told = odin.reload(&after).await.has_status(200).text();
    assert!(told.contains("alpn x"), "{told}");
    until("the new server", async || {
        (greeted(odin.address("tls"), "a.example", &[]).await.as_deref() == Ok("b")).then_some(())
    })
    .await;
    let mut line = [0; 6];
    open.write_all(b"more").await.unwrap();
    within("the old one", open.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"a\nmore");
}

#[tokio::test]
async fn curl_and_openssl_come_through() {
    let server = serving(&["http/1.1"], |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n").await;
        let _ = stream.shutdown().await;
    })
    .await;
    let odin = Odin::builder().with_config(config(&[("sni = 'a.example'", &server)], "")).start().await;
    let roots = odin.folder().join("root.pem");
    std::fs::write(&roots, pem()).unwrap();
    let (roots, address) = (roots.display().to_string(), odin.address("tls"));
    let (url, resolve) =
        (format!("https://a.example:{}/", address.port()), format!("a.example:{}:127.0.0.1", address.port()));
    let curl = ["-sS", "--noproxy", "*", "--cacert", &roots, "--resolve", &resolve, &url];
    let address = address.to_string();
    let openssl =
        ["s_client", "-connect", &address, "-servername", "a.example", "-CAfile", &roots, "-ign_eof", "-quiet"];
    for (program, arguments, input) in [("curl", &curl[..], ""), ("openssl", &openssl, "GET / HTTP/1.1\r\n\r\n")] {
        let mut command = tokio::process::Command::new(program);
        let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = command.kill_on_drop(true).spawn() else {
            skipped(program);
            continue;
        };
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        let done = within(program, child.wait_with_output()).await.unwrap();
        drop(stdin);
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.ends_with("hello\n"), "{program}: {said} {}", String::from_utf8_lossy(&done.stderr));
    }
}
