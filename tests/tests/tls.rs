//! TLS on the side of clients: which certificate they get, what both agree on, what a session that goes on needs, and what
//! becomes of handshakes that go wrong.

use odin_tests::tls::{Authority, Issued, date};
use odin_tests::{HttpBackend, Odin, Protocol, Target, TcpPeer, until, within};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An Odin whose listener `web` has these certificates and further keys of `tls`.
fn secured(certificates: &[&Issued], more: &str, target: &impl Target) -> odin_tests::Builder {
    let pairs: Vec<_> = certificates.iter().map(|issued| issued.pair()).collect();
    Odin::builder().target(target).in_listener(&format!("tls = {{ certificates = [{}] {more} }}", pairs.join(", ")))
}

/// The certificate that a new client is shown for a name. In a session that goes on none is shown.
async fn shown(authority: &Authority, odin: &Odin, name: &str) -> Vec<u8> {
    let stream = authority.client(&[]).connect(odin.address("web"), name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn requests_over_tls_reach_the_upstream_as_https() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let odin = secured(&[&authority.issue(&["a.test"])], "", &backend).start().await;
    let answer = authority.client(&["http/1.1"]).ask(odin.address("web"), "a.test", "a.test", "/over").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"["x-forwarded-proto","https"]"#), "{answer}");
    assert!(answer.contains("proto=https"), "{answer}");
    let line = odin.access_log_contains(&["/over"]).await;
    assert!(line.contains(" tls=TLSv1.3 sni=\"a.test\""), "{line}");
}

#[tokio::test]
async fn what_is_spoken_is_what_both_agree_on() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let odin = secured(&[&authority.issue(&["a.test"])], "", &backend).start().await;
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let stream = authority.client(offered).connect(odin.address("web"), "a.test").await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    }
    // A protocol that Odin does not speak is refused with the alert that says so.
    let refused = authority.client(&["spdy/3"]).connect(odin.address("web"), "a.test").await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let mut stream = authority.client(&["h2"]).connect(odin.address("web"), "a.test").await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    within("the settings of Odin", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
}

#[tokio::test]
async fn a_name_gets_its_certificate() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let first = authority.issue(&["first.test"]);
    let exact = authority.issue(&["a.wild.test"]);
    let wild = authority.issue(&["*.wild.test"]);
    let (rsa, ecdsa) = (authority.issue_rsa(&["both.test"]), authority.issue(&["both.test"]));
    let odin = secured(&[&first, &exact, &wild, &rsa, &ecdsa], "", &backend).start().await;
    let client = authority.client(&[]);
    for (name, expected) in [
        ("first.test", &first),
        ("FIRST.test", &first),
        ("a.wild.test", &exact),
        ("b.wild.test", &wild),
        ("both.test", &ecdsa),
    ] {
        assert_eq!(shown(&authority, &odin, name).await, expected.der.to_vec(), "{name}");
    }
    // Of two labels the star stands for none; nobody has that name, so the first certificate is shown.
    let refused = client.connect(odin.address("web"), "a.b.wild.test").await.unwrap_err();
    assert!(refused.to_string().contains("first.test"), "{refused}");
    // A client that cannot do without RSA gets that.
    let address = odin.address("web").to_string();
    let command = ["s_client", "-connect", &address, "-servername", "both.test", "-tls1_2", "-sigalgs", "RSA+SHA256"];
    let said = tokio::process::Command::new("openssl").args(command).stdin(std::process::Stdio::null()).output().await;
    let said = String::from_utf8_lossy(&said.unwrap().stdout).into_owned();
    assert!(said.contains("Peer signature type: RSA"), "{said}");
}

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let certificates = [
        &authority.issue(&["a.test", "*.a.test"]),
        &authority.issue(&["secret.test"]),
        &authority.issue(&["two.test", "only-ecdsa.test"]),
        &authority.issue_rsa(&["two.test"]),
    ];
    let odin = secured(&certificates, "", &backend).start().await;
    let client = authority.client(&[]);
    for (sni, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.TEST:443", 200),
        ("a.test", "a.test.", 200),
        ("a.test", "b.a.test", 200),
        ("a.test", "c.b.a.test", 421),
        ("a.test", "secret.test", 421),
        ("a.test", "secret.test:443", 421),
        ("a.test", "127.0.0.1", 421),
        ("secret.test", "a.test", 421),
        // A client that was shown the RSA certificate has seen one name only.
        ("two.test", "only-ecdsa.test", 421),
    ] {
        let answer = client.ask(odin.address("web"), sni, host, "/").await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{sni} {host}: {answer}");
    }
}

#[tokio::test]
async fn sessions_go_on() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let secret = authority.folder().join("tickets.key");
    std::fs::write(&secret, [7; 80]).unwrap();
    let issued = authority.issue(&["a.test"]);
    for version in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let client = authority.client_of(&[], version, None);
        let odin = secured(&[&issued], "", &backend).workers(2).start().await;
        let kind = async |odin: &Odin| {
            let mut stream = client.connect(odin.address("web"), "a.test").await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
            // The tickets of TLS 1.3 come with the answer.
            within("an answer", stream.read_to_end(&mut Vec::new())).await.unwrap();
            stream.get_ref().1.handshake_kind().unwrap()
        };
        assert_ne!(kind(&odin).await, HandshakeKind::Resumed, "{version:?}");
        for _ in 0..8 {
            assert_eq!(kind(&odin).await, HandshakeKind::Resumed, "{version:?}");
        }
        // Another process knows nothing of them, unless both have the secret of one file.
        let other = secured(&[&issued], "", &backend).start().await;
        assert_ne!(kind(&other).await, HandshakeKind::Resumed, "{version:?}");
        let shared = format!(", tickets = {secret:?}");
        let (one, two) = (
            secured(&[&issued], &shared, &backend).start().await,
            secured(&[&issued], &shared, &backend).start().await,
        );
        assert_ne!(kind(&one).await, HandshakeKind::Resumed, "{version:?}");
        assert_eq!(kind(&two).await, HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn a_session_does_not_go_on_at_a_listener_for_other_names() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let (one, two) = (authority.issue(&["a.test"]), authority.issue(&["a.test", "b.test"]));
    let second = format!(
        "[[listeners]]\nname = 'two'\naddress = '127.0.0.1:0'\ncluster = 'web'\ntls = {{ certificates = [{}] }}\n",
        two.pair()
    );
    let odin = secured(&[&one], "", &backend).section(&second).start().await;
    let client = authority.client(&[]);
    client.ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
    let stream = client.connect(odin.address("two"), "a.test").await.unwrap();
    assert_ne!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_session_goes_on_across_an_upgrade() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let odin = secured(&[&authority.issue(&["a.test"])], "", &backend).start().await;
    let client = authority.client(&[]);
    client.ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
    for _ in 0..3 {
        odin.upgrade().await;
        let mut stream = client.connect(odin.address("web"), "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        within("an answer", stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
}

#[tokio::test]
async fn a_tcp_listener_over_tls_passes_on_both_ends() {
    let (authority, peer) = (Authority::default(), TcpPeer::echo("hello\n").await);
    let issued = authority.issue(&["a.test"]);
    let config = format!(
        "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'tcp'\naddress = '127.0.0.1:0'\nprotocol = 'tcp'\ncluster = 'a'\n\
         tls = {{ certificates = [{}] }}\n[clusters.a]\nendpoints = ['{}']\n",
        issued.pair(),
        peer.address()
    );
    let odin = Odin::builder().with_config(config).start().await;
    let mut stream = authority.client(&[]).connect(odin.address("tcp"), "a.test").await.unwrap();
    let sent = vec![b'x'; 3 << 20];
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    // An end without `close_notify` would be an error here.
    let (read, ()) = tokio::join!(within("the echo", reader.read_to_end(&mut got)), sending);
    read.unwrap();
    assert_eq!((got.len(), &got[..6]), (sent.len() + 6, &b"hello\n"[..]));
    odin.access_log_contains(&["TCP", "tls=TLSv1.3"]).await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_a_wrong_one_none() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let issued = authority.issue(&["a.test"]);
    let (before, client) = (issued.der.to_vec(), authority.client(&[]));
    let odin = secured(&[&issued], "", &backend).start().await;
    let mut open = client.connect(odin.address("web"), "a.test").await.unwrap();

    let renewed = authority.issue(&["a.test"]);
    renewed.replace(&issued);
    until("the new certificate", || async {
        (shown(&authority, &odin, "a.test").await == renewed.der.to_vec()).then_some(())
    })
    .await;
    odin.log_contains(&["listener \"web\": its TLS files are others"]).await;
    open.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer on the old connection", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(open.get_ref().1.peer_certificates().unwrap()[0].to_vec(), before);

    let expired = authority.issue_with(&["a.test"], |params| params.not_after = date(2025, 1, 1));
    for (what, cert, key, words) in [
        ("another's key", None, Some(&authority.issue(&["a.test"]).key), "the key is not that of the certificate"),
        ("an expired one", Some(&expired.cert), Some(&expired.key), "the certificate expired on 2025-01-01"),
        ("a text", Some(&odin.config_file().to_owned()), None, "no certificate in it"),
    ] {
        let from = odin.log().all().len();
        for (new, old) in [(cert, &issued.cert), (key, &issued.key)] {
            std::fs::copy(new.unwrap_or(if old == &issued.cert { &renewed.cert } else { &renewed.key }), old).unwrap();
        }
        let answer = odin.run(&["reload"]).await;
        assert!(!answer.status.success(), "{what}");
        let line = odin.log_contains_after(from, &["not reloaded", words]).await;
        assert!(line.contains("listener \"web\"") && line.contains(&issued.cert.display().to_string()), "{line}");
        assert_eq!(shown(&authority, &odin, "a.test").await, renewed.der.to_vec(), "{what}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_or_nonsense_holds_nothing() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let builder = secured(&[&authority.issue(&["a.test"])], "", &backend);
    let odin = builder.section("[timeouts]\nheader = '300ms'\n[limits]\nhandshakes = 8\n").start().await;
    let mut silent = TcpStream::connect(odin.address("web")).await.unwrap();
    let mut slow = TcpStream::connect(odin.address("web")).await.unwrap();
    slow.write_all(b"\x16\x03\x01").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let _ = within("the end of a client that says nothing", stream.read_to_end(&mut Vec::new())).await;
    }
    for nonsense in [
        &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x04\xff\x00\x00\x00",
        &[0x80, 0x2e, 1, 0, 2],
    ] {
        let mut stream = TcpStream::connect(odin.address("web")).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut got = Vec::new();
        let _ = within("an alert", stream.read_to_end(&mut got)).await;
        assert_eq!(got.first(), Some(&0x15), "an alert for {nonsense:?}: {got:?}");
    }
    odin.log_contains(&["TLS handshake failed"]).await;
    let metrics = odin.metrics().await;
    assert!(metrics.sum("odin_tls_handshakes_failed_total", &[]) >= 4.0);
    assert!(metrics.sum("odin_tls_certificate_expiry_seconds", &[("names", "a.test")]) > 1e9);
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let builder = secured(&[&authority.issue(&["a.test"])], "", &backend);
    let odin = builder.section("[limits]\nhandshakes = 8\n").workers(1).start().await;
    let (client, mut silent) = (authority.client(&[]), Vec::new());
    for round in 0..4 {
        for _ in 0..16 {
            silent.push(TcpStream::connect(odin.address("web")).await.unwrap());
        }
        let answer = client.ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{round}: {answer}");
    }
    // The oldest are closed.
    for stream in &mut silent[..48] {
        let _ = within("the end of a client that says nothing", stream.read_to_end(&mut Vec::new())).await;
    }
    odin.log_contains(&["TLS handshake failed", "limits.handshakes"]).await;
}

#[tokio::test]
async fn a_listener_that_changes_its_protocol_offers_that_one() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let issued = authority.issue(&["a.test"]);
    let config = |protocol: &str| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\nprotocol = '{protocol}'\ncluster = 'up'\n\
             tls = {{ certificates = [{}] }}\n[clusters.up]\nendpoints = ['{}']\n",
            issued.pair(),
            backend.address()
        )
    };
    let odin = Odin::builder().with_config(config("tcp")).start().await;
    let agreed = async || {
        let stream = authority.client(&["h2", "http/1.1"]).connect(odin.address("web"), "a.test").await.unwrap();
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(agreed().await, None);
    odin.reload(&config("http")).await.has_status(200);
    assert_eq!(agreed().await.as_deref(), Some(&b"h2"[..]));
    odin.reload(&config("tcp")).await.has_status(200);
    assert_eq!(agreed().await, None);
}

#[tokio::test]
async fn a_refused_certificate_is_looked_at_again_when_its_file_changes() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let (first, second) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let config = |issued: &Issued| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'up'\n\
             tls = {{ certificates = [{}] }}\n[clusters.up]\nendpoints = ['{}']\n",
            issued.pair(),
            backend.address()
        )
    };
    let odin = Odin::builder().with_config(config(&first)).start().await;
    let good = std::fs::read(&second.cert).unwrap();
    std::fs::write(&second.cert, "half of it").unwrap();
    assert_ne!(odin.reload(&config(&second)).await.status, 200);
    assert_eq!(shown(&authority, &odin, "a.test").await, first.der.to_vec());
    std::fs::write(&second.cert, good).unwrap();
    until("the certificate that is whole now", || async {
        (shown(&authority, &odin, "a.test").await == second.der.to_vec()).then_some(())
    })
    .await;
}
