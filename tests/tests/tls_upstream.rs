//! TLS on the side of upstreams: what is believed, what is not and why, and connections that are kept.

use http::Request;
use odin_tests::tls::{Authority, Client, Issued, date, fingerprint, front};
use odin_tests::{Builder, HttpBackend, Odin, Protocol, Target, TcpPeer, body};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An Odin whose cluster `web` is reached with these keys of `tls`.
fn reaching(target: &impl Target, tls: &str) -> Builder {
    Odin::builder().target(target).in_cluster(&format!("tls = {{ {tls} }}")).top("[access-log]\nformat = 'json'")
}

fn by_file(authority: &Authority) -> String {
    format!("roots = {:?}, server-name = 'up.test'", authority.file())
}

#[tokio::test]
async fn an_upstream_is_reached_over_connections_that_are_kept() {
    let authority = Authority::default();
    for (protocol, alpn) in [(Protocol::Http1, &["http/1.1"][..]), (Protocol::Http2, &["h2"])] {
        let backend = HttpBackend::echo(protocol).await;
        let front = front(&backend, &authority.issue(&["up.test"]), alpn, None).await;
        let odin = reaching(&front, &by_file(&authority)).upstream(protocol).start().await;
        for _ in 0..5 {
            odin.get("/").await.has_status(200);
        }
        let large = vec![b'x'; 1 << 20];
        odin.post("/large", large).await.has_status(200);
        assert_eq!(front.connections(), 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_who_it_should_be_is_told_with_the_check() {
    let (authority, stranger) = (Authority::default(), Authority::new("a stranger"));
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let good = authority.issue(&["up.test"]);
    let revoked = authority.issue(&["up.test"]);
    let crl = format!("{}, crl = {:?}", by_file(&authority), authority.revoke(&[&revoked]));
    let expired = authority.issue_with(&["up.test"], |params| params.not_after = date(2025, 1, 1));
    let early = authority.issue_with(&["up.test"], |params| params.not_before = date(2090, 1, 1));
    let other = authority.issue(&["other.test"]);
    let pinned = format!("roots = 'none', fingerprints = ['{}']", fingerprint(&good));
    let against = format!("checked against the roots in {}", authority.file().display());
    let table: [(&str, &Issued, String, &[&str]); 9] = [
        ("wrong CA", &stranger.issue(&["up.test"]), by_file(&authority), &["unknown issuer", &against]),
        ("self-signed", &authority.self_signed(&["up.test"]), by_file(&authority), &["self-signed", &against]),
        ("wrong name", &other, by_file(&authority), &["\"up.test\"", "other names", "other.test", &against]),
        ("expired", &expired, by_file(&authority), &["it expired on 2025-01-01", &against]),
        ("not yet valid", &early, by_file(&authority), &["not valid before 2090-01-01", &against]),
        ("revoked", &revoked, crl, &["it was revoked", &against]),
        ("another fingerprint", &other, pinned, &["fingerprint", "the fingerprints of the config"]),
        ("the system's roots", &good, "server-name = 'up.test'".into(), &["unknown issuer", "the roots of the system"]),
        ("Mozilla's", &good, "roots = 'mozilla', server-name = 'up.test'".into(), &["unknown issuer", "Mozilla's"]),
    ];
    for (what, certificate, tls, words) in table {
        let front = front(&backend, certificate, &[], None).await;
        let odin = reaching(&front, &tls).start().await;
        odin.get("/refused").await.has_status(502);
        let error = odin.logged("/refused").await["error"].as_str().unwrap_or_default().to_owned();
        for word in words {
            assert!(error.contains(word), "{what}: {error}");
        }
    }
    assert_eq!(backend.requests(), 0, "nothing came to any of them");
}

#[tokio::test]
async fn fingerprints_count_whatever_the_name() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let certificate = authority.self_signed(&["whatever.test"]);
    let front = front(&backend, &certificate, &[], None).await;
    let digits: Vec<String> =
        fingerprint(&certificate).as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase()).collect();
    let odin = reaching(&front, &format!("roots = 'none', fingerprints = ['{}']", digits.join(":"))).start().await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn the_name_is_that_of_the_endpoint_unless_another_is_given() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let front = front(&backend, &authority.issue(&["localhost", "127.0.0.1"]), &[], None).await;
    let tls = format!("roots = {:?}", authority.file());
    reaching(&front, &tls).start().await.get("/").await.has_status(200);
    let config = |host: &str| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'up'\n[clusters.up]\nendpoints = ['{host}:{}']\n\
             tls = {{ {tls} }}\n",
            front.address().port()
        )
    };
    Odin::builder().with_config(config("localhost")).start().await.get("/").await.has_status(200);
}

#[tokio::test]
async fn odin_shows_who_it_is_to_upstreams_that_ask() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let front = front(&backend, &authority.issue(&["up.test"]), &[], Some(&authority)).await;
    let own = authority.issue(&["odin.test"]);
    let tls = format!("{}, cert = {:?}, key = {:?}", by_file(&authority), own.cert, own.key);
    reaching(&front, &tls).start().await.get("/").await.has_status(200);
    let odin = reaching(&front, &by_file(&authority)).start().await;
    odin.get("/nobody").await.has_status(502);
    let error = odin.logged("/nobody").await["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn an_upstream_that_speaks_no_http2_is_told_so() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let front = front(&backend, &authority.issue(&["up.test"]), &[], None).await;
    let odin = reaching(&front, &by_file(&authority)).upstream(Protocol::Http2).start().await;
    odin.get("/h1").await.has_status(502);
    let error = odin.logged("/h1").await["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("did not agree on HTTP/2"), "{error}");
}

#[tokio::test]
async fn other_keys_are_another_peer_after_a_reload() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let front = front(&backend, &authority.issue(&["up.test", "b.test"]), &[], None).await;
    let config = |name: &str| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'up'\n[clusters.up]\nendpoints = ['{}']\n\
             tls = {{ roots = {:?}, server-name = '{name}' }}\n",
            front.address(),
            authority.file()
        )
    };
    let odin = Odin::builder().with_config(config("up.test")).start().await;
    odin.get("/").await.has_status(200);
    odin.reload(&config("b.test")).await.has_status(200);
    odin.get("/").await.has_status(200);
    assert_eq!(front.connections(), 2, "one for each name");
    odin.reload(&config("c.test")).await.has_status(200);
    odin.get("/").await.has_status(502);
}

#[tokio::test]
async fn a_cluster_that_changes_its_protocol_agrees_on_that_one() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http2).await);
    let front = front(&backend, &authority.issue(&["up.test"]), &["h2"], None).await;
    let config = |protocol: &str| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'up'\n[clusters.up]\n\
             endpoints = ['{}']\nprotocol = '{protocol}'\ntls = {{ {} }}\n",
            front.address(),
            by_file(&authority)
        )
    };
    let odin = Odin::builder().with_config(config("http1")).start().await;
    odin.get("/").await.has_status(502);
    odin.reload(&config("http2")).await.has_status(200);
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn a_tcp_connection_goes_on_over_tls_in_plain_text_or_encrypted() {
    let (authority, peer) = (Authority::default(), TcpPeer::echo("").await);
    let front = front(&peer, &authority.issue(&["up.test"]), &[], None).await;
    let own = authority.issue(&["a.test"]);
    let config = format!(
        "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'plain'\naddress = '127.0.0.1:0'\nprotocol = 'tcp'\ncluster = 'up'\n\
         [[listeners]]\nname = 'tls'\naddress = '127.0.0.1:0'\nprotocol = 'tcp'\ncluster = 'up'\n\
         tls = {{ certificates = [{}] }}\n[clusters.up]\nendpoints = ['{}']\ntls = {{ {} }}\n",
        own.pair(),
        front.address(),
        by_file(&authority)
    );
    let odin = Odin::builder().with_config(config).start().await;
    let mut plain = tokio::net::TcpStream::connect(odin.address("plain")).await.unwrap();
    echoes(&mut plain).await;
    let client: Client = authority.client(&[]);
    echoes(&mut client.connect(odin.address("tls"), "a.test").await.unwrap()).await;
}

/// What goes there comes back, to the end.
async fn echoes(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) {
    let sent = vec![7; 1 << 20];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (read, ()) = tokio::join!(odin_tests::within("the echo", reader.read_to_end(&mut got)), sending);
    read.unwrap();
    assert_eq!(got.len(), sent.len());
}

#[tokio::test]
async fn a_request_with_a_body_survives_an_upstream_that_ends_its_idle_connections() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let front = front(&backend, &authority.issue(&["up.test"]), &[], None).await;
    let odin = reaching(&front, &by_file(&authority)).start().await;
    odin.get("/").await.has_status(200);
    backend.goodbye();
    for _ in 0..3 {
        let request = Request::post("/").body(body::full("content")).unwrap();
        odin.request(request).await.has_status(200);
    }
}
