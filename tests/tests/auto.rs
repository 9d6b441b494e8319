//! One port for all protocols: which one a client speaks is told by its first bytes, and those who wait for the server to
//! speak first get to it.

#[allow(dead_code, reason = "other tests use the rest")]
mod tls_peer;

use std::net::SocketAddr;
use std::time::Instant;

use odin_tests::tls::Authority;
use odin_tests::{Connection, Ending, HttpBackend, Odin, Protocol, Raw, Target as _, TcpPeer, until, within};
use tls_peer::{greeted, hello, in_records};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A listener for all, with an HTTP, a TLS and a TCP server behind it.
struct All {
    http: HttpBackend,
    tls: TcpPeer,
    tcp: TcpPeer,
}

/// What the TCP server says first.
const GREETING: &str = "220 ready\r\n";

impl All {
    async fn start() -> All {
        All {
            http: HttpBackend::named("http", Protocol::Http1).await,
            tls: tls_peer::server("tls", &[]).await,
            tcp: TcpPeer::echo(GREETING).await,
        }
    }

    /// The listener `web` with these keys and the three clusters.
    fn config(&self, keys: &str) -> String {
        format!(
            "admin = '127.0.0.1:0'\nworkers = 1\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\n{keys}\n\
             [clusters.http]\nendpoints = ['{}']\n[clusters.tls]\nendpoints = ['{}']\n[clusters.tcp]\nendpoints = ['{}']\n\
             [timeouts]\nheader = '2s'\n",
            self.http.address(),
            self.tls.address(),
            self.tcp.address(),
        )
    }
}

const ROUTES: &str = "[[listeners.routes]]\nhost = 'web.example'\ncluster = 'http'\n\
                      [[listeners.routes]]\nsni = '*.example'\ncluster = 'tls'\n";

fn auto(keys: &str) -> String {
    format!("protocol = 'auto'\n{keys}\n{ROUTES}")
}

/// Sends this piece by piece and answers what comes first.
async fn answered(address: SocketAddr, pieces: &[&[u8]], length: usize) -> String {
    let mut client = Raw::connect(address).await;
    for piece in pieces {
        client.send(piece).await;
    }
    String::from_utf8_lossy(&client.read(length).await).into_owned()
}

#[tokio::test]
async fn each_protocol_comes_to_its_server() {
    let all = All::start().await;
    let odin =
        Odin::builder().with_config(all.config(&auto("tcp-cluster = 'tcp'\ndetect-timeout = '300ms'"))).start().await;
    let address = odin.address("web");
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
    let bytes: Vec<&[u8]> = get.chunks(1).collect();
    for pieces in [&[get][..], &bytes, &[b"G", &get[1..]], &[&get[..3], &get[3..]], &[&get[..4], &get[4..]]] {
        assert_eq!(answered(address, pieces, 12).await, "HTTP/1.1 200", "{pieces:?}");
    }
    for (request, status) in [
        (&b"POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 0\r\n\r\n"[..], "200"),
        (b"M-SEARCH * HTTP/1.1\r\nHost: web.example\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", "404"),
        (b"PRI / HTTP/1.1\r\nHost: web.example\r\n\r\n", "200"),
        (b"GET nonsense\r\n\r\n", "400"),
    ] {
        let got = answered(address, &[request], 12).await;
        assert!(got.starts_with("HTTP/1.") && got.ends_with(status), "{got}: {}", String::from_utf8_lossy(request));
    }
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = Connection::try_connect(protocol, address).await.unwrap();
        for _ in 0..2 {
            let request = http::Request::get("http://web.example/").header("host", "web.example");
            let request = request.body(odin_tests::body::empty()).unwrap();
            client.send(request).await.has_status(200).has_field("backend", "http");
        }
    }

    for name in ["a.example", "b.a.example"] {
        assert_eq!(greeted(address, name, &["h2"]).await.as_deref(), Ok("tls"));
    }
    let unknown = greeted(address, "nobody.test", &[]).await.unwrap_err();
    assert!(unknown.to_lowercase().contains("name"), "{unknown}");
    let whole = hello("a.example", &[]);
    let mut before = all.tls.connections();
    for bytes in [whole.clone(), in_records(&whole, 1)] {
        let mut client = Raw::connect(address).await;
        for byte in bytes.chunks(1) {
            client.send(byte).await;
        }
        // A ServerHello comes, of a handshake.
        assert_eq!(client.read(1).await, [22]);
        before += 1;
        assert_eq!(all.tls.connections(), before);
    }

    for first in [
        &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..],
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"get / HTTP/1.1\r\n\r\n",
        b"\r\n",
        b"\x80\x2e\x01\0\x02",
        b"PRI * HTTP/2.0\r\n\r\nSX",
        b"A-METHOD-THAT-IS-LONGER-THAN-ANY-THAT-THERE-IS / HTTP/1.1\r\n\r\n",
    ] {
        let wanted = [GREETING.as_bytes(), first].concat();
        // The last but one begins as HTTP/1 does.
        if first.starts_with(b"PRI") {
            assert!(answered(address, &[first], 8).await.starts_with("HTTP/1."));
            continue;
        }
        let got = answered(address, &[first], wanted.len()).await;
        assert_eq!(got, String::from_utf8_lossy(&wanted), "{first:?}");
    }
    odin.stop().await;
}

#[tokio::test]
async fn who_is_silent_gets_to_the_server_that_speaks_first() {
    let all = All::start().await;
    let odin =
        Odin::builder().with_config(all.config(&auto("tcp-cluster = 'tcp'\ndetect-timeout = '300ms'"))).start().await;
    let address = odin.address("web");
    for (sent, length) in [(&b""[..], 0), (b"GE", 2), (b"PRI *", 5)] {
        let begun = Instant::now();
        let got = answered(address, &[sent], GREETING.len() + length).await;
        assert_eq!(got, format!("{GREETING}{}", String::from_utf8_lossy(sent)));
        let took = begun.elapsed().as_millis();
        assert!((250..2000).contains(&took), "{took} ms");
    }
    // One that ends at once is silent for ever.
    let begun = Instant::now();
    let mut client = Raw::connect(address).await;
    client.finish().await;
    assert_eq!(client.rest().await, (GREETING.as_bytes().to_vec(), Ending::Closed));
    assert!(begun.elapsed().as_millis() < 280, "nothing is waited for");
    // One that is gone costs nothing.
    for _ in 0..20 {
        Raw::connect(address).await.reset();
    }
    assert_eq!(greeted(address, "a.example", &[]).await.as_deref(), Ok("tls"));
    until("they are gone", async || {
        (odin.metrics().await.sum("odin_connections_open", &[("listener", "web")]) < 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_cluster_for_the_rest_it_is_closed() {
    let all = All::start().await;
    let odin = Odin::builder().with_config(all.config(&auto(""))).start().await;
    let address = odin.address("web");
    for first in [&b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..], b"PING\r\n", b"\0\0\0\x08"] {
        let mut client = Raw::connect(address).await;
        client.send(first).await;
        client.ends().await;
    }
    odin.access_log_contains(&["error=", "neither HTTP nor TLS"]).await;
    // A silent one is waited for as long as the first head of a request is.
    let begun = Instant::now();
    let mut client = Raw::connect(address).await;
    assert_eq!(client.ends().await, Ending::Closed);
    assert!(begun.elapsed().as_millis() > 1500);
    let mut client = Raw::connect(address).await;
    client.finish().await;
    client.ends().await;
    assert!(answered(address, &[b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"], 12).await.ends_with("200"));
    assert_eq!(all.tcp.connections(), 0);
}

#[tokio::test]
async fn what_has_no_route_is_other_bytes() {
    let all = All::start().await;
    for (keys, http, tls) in [
        ("protocol = 'auto'\ntcp-cluster = 'tcp'\n", false, false),
        ("protocol = 'auto'\ntcp-cluster = 'tcp'\ncluster = 'http'\n", true, false),
        ("protocol = 'auto'\ntcp-cluster = 'tcp'\n[[listeners.routes]]\nalpn = ['h2']\ncluster = 'tls'\n", false, true),
    ] {
        let odin = Odin::builder().with_config(all.config(keys)).start().await;
        let address = odin.address("web");
        let got = answered(address, &[b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"], 12).await;
        assert_eq!(got, if http { "HTTP/1.1 200" } else { "220 ready\r\nG" }, "{keys}");
        match tls {
            true => assert_eq!(greeted(address, "a.example", &["h2"]).await.as_deref(), Ok("tls")),
            false => {
                let whole = hello("a.example", &[]);
                let mut client = Raw::connect(address).await;
                client.send(&whole).await;
                assert!(client.read(GREETING.len() + whole.len()).await == [GREETING.as_bytes(), &whole].concat());
            }
        }
        assert!(answered(address, &[b"PING\r\n"], 11).await.starts_with("220"));
    }
}

#[tokio::test]
async fn what_no_route_relays_is_decrypted_where_there_is_a_certificate() {
    let (all, authority) = (All::start().await, Authority::default());
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["web.example", "here.test"]).pair());
    let keys = format!("protocol = 'auto'\ntcp-cluster = 'tcp'\ndetect-timeout = '200ms'\n{tls}\n{ROUTES}");
    // A name that a route has goes on to its server as it is.
    let keys = keys.replace("*.example", "relayed.example");
    let odin = Odin::builder().with_config(all.config(&keys)).start().await;
    let address = odin.address("web");
    let relayed = authority.client(&[]).connect(address, "relayed.example").await.unwrap_err();
    assert!(relayed.to_string().contains("UnknownIssuer"), "the certificate of the server behind: {relayed}");

    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = authority.client(alpn).connect(address, "web.example").await.unwrap();
        client.write_all(get).await.unwrap();
        let mut answer = String::new();
        within("an answer", client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("backend: http"), "{alpn:?}: {answer}");
    }
    let client = authority.client(&["h2"]).connect(address, "web.example").await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let line = odin.access_log_contains(&["GET /", "tls=TLSv1.3"]).await;
    assert!(line.contains("sni=\"web.example\""), "{line}");
    // Other bytes, and a client that waits for the server to speak first.
    for first in [&b"PING\r\n"[..], b""] {
        let mut client = authority.client(&[]).connect(address, "here.test").await.unwrap();
        client.write_all(first).await.unwrap();
        let mut got = vec![0; GREETING.len() + first.len()];
        within("what the server says", client.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, [GREETING.as_bytes(), first].concat());
    }
    // TLS inside of TLS is bytes, and plain text comes in as before.
    let mut client = authority.client(&[]).connect(address, "here.test").await.unwrap();
    let inner = hello("a.example", &[]);
    client.write_all(&inner).await.unwrap();
    let mut got = vec![0; GREETING.len() + inner.len()];
    within("an echo", client.read_exact(&mut got)).await.unwrap();
    assert!(got.ends_with(&inner));
    assert_eq!(answered(address, &[get], 12).await, "HTTP/1.1 200");
    // A ClientHello byte by byte, in records of a byte.
    let mut client = Raw::connect(address).await;
    for byte in in_records(&hello("web.example", &[]), 1).chunks(1) {
        client.send(byte).await;
    }
    assert_eq!(client.read(1).await, [22]);
    odin.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_protocol_of_a_port() {
    let all = All::start().await;
    let tls = format!("protocol = 'tls'\n{}", &ROUTES[ROUTES.find("[[listeners.routes]]\nsni").unwrap()..]);
    let configs = [
        ("auto", auto("tcp-cluster = 'tcp'\ndetect-timeout = '200ms'")),
        ("tls", tls),
        ("http", "cluster = 'http'\n".to_owned()),
        ("tcp", "protocol = 'tcp'\ncluster = 'tcp'\n".to_owned()),
    ];
    let port = odin_tests::ReservedPort::reserve();
    let text = |keys: &str| {
        all.config(keys).replace("address = '127.0.0.1:0'", &format!("address = '127.0.0.1:{}'", port.number()))
    };
    let odin = Odin::builder().with_config(text(&configs[0].1)).start().await;
    let address = odin.address("web");
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
    let mut relay = Raw::connect(address).await;
    assert_eq!(relay.read(GREETING.len()).await, GREETING.as_bytes());
    let mut kept = Raw::connect(address).await;
    kept.send(get).await;
    assert_eq!(kept.response("GET").await.unwrap().head.status(), 200);
    // As before, then with other routes, and then with other protocols.
    for (protocol, keys) in [&configs[..], &configs[..1], &configs[1..2], &configs[..1]].concat() {
        odin.reload(&text(&keys)).await.has_status(200);
        assert_eq!(odin.steering().await.listener("web")["protocol"], protocol);
        let http = matches!(protocol, "auto" | "http");
        until("the new protocol", async || {
            let got = answered(address, &[get], 8).await;
            let wanted = match protocol {
                _ if http => got == "HTTP/1.1",
                "tls" => got.starts_with('\u{15}'),
                _ => got == GREETING[..8],
            };
            wanted.then_some(())
        })
        .await;
        let served = greeted(address, "a.example", &[]).await;
        assert_eq!(served.is_ok(), matches!(protocol, "auto" | "tls"), "{protocol}: {served:?}");
        relay.send("still here").await;
        assert_eq!(relay.read(10).await, b"still here", "{protocol}");
    }
}
