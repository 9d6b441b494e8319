//! The PROXY protocol: who the client is by the header of a load balancer in front, and the header that endpoints get.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use odin_tests::{
    Builder, Ending, HttpBackend, Odin, Protocol, Raw, RawBackend, ReservedPort, Target as _, TcpPeer, echoed, skipped,
    until,
};
use tokio::sync::mpsc;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// 192.0.2.1:5000 to 192.0.2.2:443.
const INET: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 1, 0xbb];
const BELIEVED: &str = r#"proxy-protocol = { from = ["127.0.0.0/8"] }"#;

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(block.len() as u16).to_be_bytes(), block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// Asks for `/` behind this header, in pieces of so many bytes; answers who the client is for the backend.
async fn client_behind(odin: &Odin, header: &[u8], piece: usize) -> String {
    let mut raw = odin.connect_raw().await;
    let sent = [header, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
    for piece in sent.chunks(piece) {
        raw.send(piece).await;
    }
    let response = raw.response("GET").await.unwrap_or_else(|| panic!("no answer to {}", header.escape_ascii()));
    let answer = serde_json::from_slice(&response.body).unwrap();
    echoed(&answer, "x-forwarded-for").join(" ")
}

async fn turned_away(odin: &Odin, reason: &str) -> f64 {
    odin.metrics().await.sum("odin_connections_turned_away_total", &[("reason", reason)])
}

#[tokio::test]
async fn the_client_is_who_the_header_says() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().in_listener(BELIEVED).target(&backend).start().await;
    let inet6 = [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[1], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    let table = [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 1 2 3 4 and more\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &INET), "192.0.2.1"),
        (v2(0x21, 0x21, &inet6), "2001:db8::1"),
        (v2(0x21, 0x11, &[&INET[..], &tlv(4, &[0; 300])].concat()), "192.0.2.1"),
        (v2(0x20, 0, b""), "127.0.0.1"),
        (v2(0x20, 0x11, &INET), "127.0.0.1"),
        (v2(0x21, 0, b"what it means is unknown"), "127.0.0.1"),
        (v2(0x21, 0x31, &[0; 216]), "127.0.0.1"),
    ];
    for (header, client) in table {
        for piece in [usize::MAX, 1] {
            assert_eq!(client_behind(&odin, &header, piece).await, client, "{}", header.escape_ascii());
        }
    }
    assert_eq!(turned_away(&odin, "proxy-header").await, 0.0);
    odin.stop().await;
}

#[tokio::test]
async fn http2_follows_a_header_as_well() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().in_listener(BELIEVED).target(&backend).start().await;
    let mut raw = odin.connect_raw().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    raw.send([&v2(0x21, 0x11, &INET)[..], preface].concat()).await;
    // Its settings: the frame's type is behind three bytes of length.
    assert_eq!(raw.read(9).await[3], 4);
    odin.stop().await;
}

#[tokio::test]
async fn what_is_no_header_resets_the_connection_and_is_counted() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().in_listener(BELIEVED).target(&backend).start().await;
    let table = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 65536\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 192.0.2.2 5000 443\r\n".to_vec(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).into_bytes(),
        v2(0x11, 0x11, &INET),
        v2(0x22, 0x11, &INET),
        v2(0x21, 0x51, &INET),
        v2(0x21, 0x11, &INET[..11]),
        v2(0x21, 0x11, &[&INET[..], &[2, 0, 9]].concat()),
        v2(0x21, 0x11, &[&INET[..], &tlv(3, &[0; 4])].concat()),
    ];
    for (count, bytes) in (1..).zip(&table) {
        let mut raw = odin.connect_raw().await;
        raw.send([bytes, &b"more"[..]].concat()).await;
        assert_eq!(raw.ends().await, Ending::Reset, "{}", bytes.escape_ascii());
        assert_eq!(turned_away(&odin, "proxy-header").await, f64::from(count), "{}", bytes.escape_ascii());
    }
    odin.log_contains(&["connection refused", "no PROXY header comes first", "127.0.0.1"]).await;
    // A look at the port is no fault.
    let mut look = odin.connect_raw().await;
    look.finish().await;
    assert_eq!(look.ends().await, Ending::Closed);
    assert_eq!(turned_away(&odin, "proxy-header").await, table.len() as f64);
    assert_eq!(backend.requests(), 0);
    odin.stop().await;
}

#[tokio::test]
async fn a_header_must_come_in_time() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let builder = Odin::builder().in_listener(BELIEVED).target(&backend);
    let odin = builder.section("[timeouts]\nheader = \"200ms\"").start().await;
    for sent in [&b""[..], b"PROXY TCP4 192.0.2.1 ", &SIGNATURE[..9]] {
        let mut raw = odin.connect_raw().await;
        raw.send(sent).await;
        assert_eq!(raw.ends().await, Ending::Reset);
    }
    odin.log_contains(&["connection refused", "no PROXY header in time"]).await;
    odin.stop().await;
}

#[tokio::test]
async fn from_elsewhere_no_header_is_believed() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n";
    let refuses = r#"proxy-protocol = { from = ["10.0.0.0/8"] }"#;
    let odin = Odin::builder().in_listener(refuses).target(&backend).start().await;
    Raw::connect_and_end(odin.address("web")).await;
    assert_eq!(turned_away(&odin, "proxy-network").await, 1.0);
    odin.log_contains(&["connection refused", "not trusted"]).await;
    odin.stop().await;

    let ignores = r#"proxy-protocol = { from = ["10.0.0.0/8"], else = "ignore" }"#;
    let odin = Odin::builder().in_listener(ignores).target(&backend).start().await;
    assert_eq!(client_behind(&odin, b"", usize::MAX).await, "127.0.0.1");
    let mut raw = odin.connect_raw().await;
    raw.send([&header[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    let refused = raw.response("GET").await.unwrap();
    assert_eq!(refused.head.status(), 400, "it is a request that makes no sense");
    odin.stop().await;
}

/// A TCP listener that believes headers, in front of this cluster, with these lines for the cluster.
fn tcp(target: SocketAddr, in_cluster: &str) -> Builder {
    Odin::builder().with_config(format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\n\
         address = \"127.0.0.1:0\"\ncluster = \"tcp\"\n{BELIEVED}\n[clusters.tcp]\nendpoints = [\"{target}\"]\n{in_cluster}\n\
         [access-log]\nformat = \"json\"\n\
         context = [\"odin.proxy.authority\", \"odin.proxy.alpn\", \"odin.proxy.tls-version\", \"odin.proxy.tls-verified\"]\n"
    ))
}

/// A backend that answers with all that it got, once the client has ended its side.
async fn collector() -> (TcpPeer, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let peer = TcpPeer::start(move |stream, _| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(Raw::new(stream).rest().await.0);
        }
    })
    .await;
    (peer, receiver)
}

#[tokio::test]
async fn what_follows_the_header_goes_on_and_its_vectors_are_facts() {
    let (backend, mut got) = collector().await;
    let odin = tcp(backend.address(), "").start().await;
    let tls = tlv(0x20, &[&[3, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"client")].concat());
    let block = [&INET[..], &tlv(1, b"h2"), &tlv(2, b"a.example"), &tls].concat();
    let mut raw = odin.connect_tcp().await;
    raw.send([&v2(0x21, 0x11, &block)[..], b"payload"].concat()).await;
    raw.finish().await;
    assert_eq!(got.recv().await.unwrap(), b"payload");
    odin.access_log_contains(&["192.0.2.1", "a.example", "\"h2\"", "TLSv1.3", "true"]).await;
    odin.stop().await;
}

#[tokio::test]
async fn endpoints_of_tcp_get_the_header_first() {
    let (backend, mut got) = collector().await;
    let address = backend.address();
    let odin = tcp(address, "proxy-protocol = \"v1\"").start().await;
    let mut asks = async |header: &str| {
        let mut raw = odin.connect_tcp().await;
        raw.send(format!("{header}payload")).await;
        raw.finish().await;
        String::from_utf8(got.recv().await.unwrap()).unwrap()
    };
    let line = "PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n";
    assert_eq!(asks(line).await, format!("{line}payload"));
    let line = "PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n";
    assert_eq!(asks(line).await, format!("{line}payload"));
    let mixed = "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 443\r\n";
    assert_eq!(asks(mixed).await, "PROXY UNKNOWN\r\npayload");
    let own = asks("PROXY UNKNOWN\r\n").await;
    assert!(own.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{own}");
    odin.stop().await;
}

#[tokio::test]
async fn two_odins_tell_each_other_who_the_client_is() {
    let (backend, mut got) = collector().await;
    let last = tcp(backend.address(), "").start().await;
    let first = tcp(last.address("tcp"), "proxy-protocol = \"v2\"").start().await;
    let block = [&INET[..], &tlv(1, b"h2"), &tlv(2, b"a.example")].concat();
    let mut raw = first.connect_tcp().await;
    raw.send([&v2(0x21, 0x11, &block)[..], b"payload"].concat()).await;
    raw.finish().await;
    assert_eq!(got.recv().await.unwrap(), b"payload");
    last.access_log_contains(&["192.0.2.1", "a.example", "\"h2\""]).await;
    first.stop().await;
    last.stop().await;
}

#[tokio::test]
async fn a_connection_with_a_header_serves_one_exchange() {
    let (sender, mut got) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut raw, _| {
        let sender = sender.clone();
        async move {
            let fixed = raw.read(16).await;
            let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
            let header = [fixed, raw.read(length).await].concat();
            let _ = sender.send((header, raw.head().await.unwrap()));
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let (rest, _) = raw.rest().await;
            assert!(rest.is_empty(), "no second request comes");
        }
    })
    .await;
    let builder = Odin::builder().in_listener("trust-forwarded = true").in_cluster("proxy-protocol = \"v2\"");
    let odin = builder.target(&backend).start().await;
    let mut client = odin.connect().await;
    for (requests, path) in (1..).zip(["/a", "/b"]) {
        client.get(path).await.has_status(200);
        let (header, head) = got.recv().await.unwrap();
        assert_eq!((head.path(), head.field("connection")), (path, Some("close")));
        assert_eq!(&header[..14], [SIGNATURE, &[0x21, 0x11]].concat());
        assert_eq!(header[16..20], Ipv4Addr::LOCALHOST.octets());
        assert_eq!(header[26..28], odin.address("web").port().to_be_bytes(), "where the client connected to");
        let id = head.field("x-request-id").unwrap();
        assert!(header.windows(id.len()).any(|window| window == id.as_bytes()), "the unique id");
        assert_eq!(backend.connections(), requests);
    }
    odin.stop().await;
}

#[tokio::test]
async fn http2_exchanges_do_not_share_a_connection_with_a_header() {
    let (sender, mut got) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut raw, _| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(raw.read(6).await);
            raw.rest().await;
        }
    })
    .await;
    let in_cluster = "protocol = \"http2\"\nproxy-protocol = \"v1\"";
    let odin = Odin::builder().in_cluster(in_cluster).target(&backend).start().await;
    for connections in 1..=2 {
        let mut raw = odin.connect_raw().await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(got.recv().await.unwrap(), b"PROXY ");
        assert_eq!(backend.connections(), connections);
        // Gone without its answer, so that Odin need not wait for it at its end.
        raw.reset();
    }
    odin.stop().await;
}

#[tokio::test]
async fn a_config_that_makes_no_sense_is_told_so() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let table = [
        ("proxy-protocol = {}", "`from` is missing"),
        (r#"proxy-protocol = { from = ["10.0.0.1/8"] }"#, "write \"10.0.0.0/8\", or \"10.0.0.1\""),
        (r#"proxy-protocol = { from = ["10/8"] }"#, "is not a network"),
        (r#"proxy-protocol = { from = [], else = "ignored" }"#, "did you mean `ignore`"),
        (r#"proxy-protocol = { frm = ["10.0.0.0/8"] }"#, "did you mean `from`"),
        (r#"proxy-protocol = "v2""#, "expected a table"),
        (r#"sources = { allow = ["0.0.0.0/0", "0.0.0.0/0"] }"#, "in the list already"),
        ("sources = { connections = -1 }", "a whole number"),
    ];
    for (line, told) in table {
        let checked = Odin::builder().in_listener(line).target(&backend).check().await;
        assert!(!checked.success() && checked.stderr.contains(told), "{line}: {}", checked.stderr);
    }
    let checked = Odin::builder().in_cluster("proxy-protocol = \"v3\"").target(&backend).check().await;
    assert!(checked.stderr.contains(r#"expected "v1" or "v2""#), "{}", checked.stderr);
}

/// HAProxy in front, in TCP mode, with this option for its server.
struct HaProxy {
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl HaProxy {
    fn start(port: u16, to: SocketAddr, option: &str) -> HaProxy {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             listen l\n bind 127.0.0.1:{port}\n server s {to} {option}\n"
        );
        std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = Command::new("haproxy");
        let command = command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        HaProxy { child: command.spawn().unwrap(), _folder: folder }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn haproxy_in_front_says_who_the_client_is() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        return skipped("haproxy");
    }
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin =
        Odin::builder().in_listener(BELIEVED).target(&backend).section("[access-log]\nformat = \"json\"").start().await;
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"] {
        let port = ReservedPort::reserve();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        drop(port);
        let _front = HaProxy::start(address.port(), odin.address("web"), option);
        let mut raw = until("HAProxy listens", async || Raw::try_connect(address).await.ok()).await;
        let client = raw.local_address();
        raw.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", client.port())).await;
        assert_eq!(raw.response("GET").await.unwrap().head.status(), 200, "{option}");
        // The port is the client's own, not that of HAProxy.
        let logged = odin.logged(&format!("/{}", client.port())).await;
        assert_eq!(logged["client"], client.to_string(), "{option}: {logged}");
    }
    odin.stop().await;
}
