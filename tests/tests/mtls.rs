//! Who speaks: clients that show certificates, and what is known of them afterwards.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odin_tests::tls::{Authority, Issued, date};
use odin_tests::{Builder, HttpBackend, Odin, Protocol, Target, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

fn asking(server: &Issued, more: &str, target: &impl Target) -> Builder {
    let tls = format!("tls = {{ certificates = [{}], {more} }}", server.pair());
    Odin::builder().target(target).in_listener(&tls).top("[access-log]\nformat = 'json'")
}

#[tokio::test]
async fn a_client_without_the_right_certificate_is_refused_and_told_why() {
    let (authority, stranger) = (Authority::default(), Authority::new("a stranger"));
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let revoked = authority.issue(&["revoked.test"]);
    let more = format!(
        "client-auth = 'required', client-ca = {:?}, client-crl = {:?}",
        authority.file(),
        authority.revoke(&[&revoked])
    );
    // One failed handshake a second is told at `info`, the others at `debug`.
    let builder = asking(&authority.issue(&["a.test"]), &more, &backend);
    let odin = builder.environment("RUST_LOG", "info,odin_proxy=debug").start().await;
    let good = authority.issue(&["client.test"]);
    let answer = authority.client_with(&[], &good).ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let expired = authority.issue_with(&["a"], |params| params.not_after = date(2025, 1, 1));
    let early = authority.issue_with(&["a"], |params| params.not_before = date(2090, 1, 1));
    let no_client = authority.issue_with(&["a"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (what, certificate, words) in [
        ("none", None, "shows no certificate"),
        ("wrong CA", Some(stranger.issue(&["a"])), "unknown issuer"),
        ("self-signed", Some(authority.self_signed(&["a"])), "self-signed"),
        ("expired", Some(expired), "it expired on 2025-01-01"),
        ("not yet valid", Some(early), "it is not valid before 2090-01-01"),
        ("revoked", Some(revoked), "it was revoked"),
        ("for servers", Some(no_client), "extended key usage"),
    ] {
        for version in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            let from = odin.log().all().len();
            let client = authority.client_of(&[], version, certificate.as_ref());
            let asked = client.ask(odin.address("web"), "a.test", "a.test", "/").await;
            assert!(asked.is_err(), "{what}: {asked:?}");
            odin.log_contains_after(from, &["TLS handshake failed", words]).await;
        }
    }
    assert_eq!(backend.requests(), 1, "nothing of theirs came through");
}

#[tokio::test]
async fn who_the_client_is_stands_in_the_log_and_in_the_head() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let more = format!("client-auth = 'optional', client-ca = {:?}, forward-client-cert = true", authority.file());
    let odin =
        asking(&authority.issue(&["a.test"]), &more, &backend).in_listener("trust-forwarded = true").start().await;
    let issued = authority.issue_with(&["client.test"], |params| {
        let uri = "spiffe://test/client".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
    });
    let address = odin.address("web");
    let answer = authority.client_with(&[], &issued).ask(address, "a.test", "a.test", "/known").await.unwrap();
    let written = format!(
        r#"["x-forwarded-client-cert","Hash={};Subject=\"CN=client.test\";URI=spiffe://test/client;DNS=client.test"]"#,
        odin_tests::tls::fingerprint(&issued)
    );
    assert!(answer.contains(&written), "{answer}\n{written}");
    let line = odin.logged("/known").await;
    assert_eq!(line["tls"]["client_subject"], "CN=client.test", "{line}");
    assert_eq!(line["tls"]["client_names"], "client.test,spiffe://test/client", "{line}");
    assert_eq!(line["tls"]["client_fingerprint"], odin_tests::tls::fingerprint(&issued), "{line}");

    // A session that goes on knows it as well.
    let client = authority.client_with(&[], &issued);
    for path in ["/one", "/two"] {
        let answer = client.ask(address, "a.test", "a.test", path).await.unwrap();
        assert!(answer.contains("Subject="), "{answer}");
    }
    assert_eq!(odin.logged("/two").await["tls"]["resumed"], true);

    // What the client says of itself counts for nothing, also where other proxies are trusted.
    let mut stream = authority.client(&[]).connect(address, "a.test").await.unwrap();
    let forged =
        "GET /forged HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Client-Cert: Hash=00\r\nConnection: close\r\n\r\n";
    stream.write_all(forged.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("client-cert"), "{answer}");
    assert_eq!(odin.logged("/forged").await["tls"]["client_subject"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_of_its_client() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let more = format!("client-auth = 'required', client-ca = {:?}", authority.file());
    let odin = asking(&authority.issue(&["a.test"]), &more, &backend).start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let over = now + 4;
    let short = authority.issue_with(&["client.test"], |params| {
        params.not_after = date(1970, 1, 1) + Duration::from_secs(over);
    });
    let clients = [&rustls::version::TLS12, &rustls::version::TLS13]
        .map(|version| authority.client_of(&[], &[version], Some(&short)));
    for (client, paths) in clients.iter().zip([["/1", "/2"], ["/3", "/4"]]) {
        for path in paths {
            client.ask(odin.address("web"), "a.test", "a.test", path).await.unwrap();
        }
        assert_eq!(odin.logged(paths[1]).await["tls"]["resumed"], true, "{paths:?}");
    }
    until("the end of the certificate", || async {
        (SystemTime::now() > UNIX_EPOCH + Duration::from_secs(over + 1)).then_some(())
    })
    .await;
    for client in &clients {
        let asked = client.ask(odin.address("web"), "a.test", "a.test", "/").await;
        assert!(asked.is_err(), "the ticket of a client whose certificate has expired: {asked:?}");
    }
    odin.log_contains(&["TLS handshake failed", "it expired"]).await;
}

#[tokio::test]
async fn connections_go_by_what_was_asked_of_them() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let issued = authority.issue(&["a.test"]);
    let config = |more: &str| {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'up'\n\
             tls = {{ certificates = [{}]{more} }}\n[clusters.up]\nendpoints = ['{}']\n",
            issued.pair(),
            backend.address()
        )
    };
    let odin = Odin::builder().with_config(config("")).start().await;
    let mut open = authority.client(&[]).connect(odin.address("web"), "a.test").await.unwrap();
    assert!(!asked_on(&mut open).await.contains("connection: close"));
    // A certificate that is renewed is no reason to end what is open.
    authority.issue(&["a.test"]).replace(&issued);
    assert!(odin.run(&["reload"]).await.status.success());
    assert!(!asked_on(&mut open).await.contains("connection: close"));
    // Who has shown nothing may not go on where something is asked for.
    let more = format!(", client-auth = 'required', client-ca = {:?}", authority.file());
    odin.reload(&config(&more)).await.has_status(200);
    let mut rest = String::new();
    let _ = open.write_all(b"GET /late HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let _ = within("the end of the connection", open.read_to_string(&mut rest)).await;
    assert!(rest.is_empty() || rest.contains("connection: close"), "{rest}");
    // A list that revokes nobody else is the same list.
    let known = authority.client_with(&[], &authority.issue(&["client.test"]));
    let listed = format!("{more}, client-crl = {:?}", authority.revoke(&[]));
    odin.reload(&config(&listed)).await.has_status(200);
    let mut open = known.connect(odin.address("web"), "a.test").await.unwrap();
    asked_on(&mut open).await;
    let mut list = std::fs::read_to_string(authority.revoke(&[])).unwrap();
    list.push('\n');
    std::fs::write(authority.revoke(&[]), list).unwrap();
    assert!(odin.run(&["reload"]).await.status.success());
    assert!(!asked_on(&mut open).await.contains("connection: close"));
}

/// The head of the answer to one request on an open connection, and its body.
async fn asked_on(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn a_session_does_not_outlive_the_right_to_it() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let (server, issued) = (authority.issue(&["a.test"]), authority.issue(&["client.test"]));
    let list = authority.revoke(&[]);
    let more = format!("client-auth = 'required', client-ca = {:?}, client-crl = {list:?}", authority.file());
    let odin = asking(&server, &more, &backend).start().await;
    let client = authority.client_with(&[], &issued);
    for _ in 0..2 {
        client.ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
    }
    authority.revoke(&[&issued]);
    assert!(odin.run(&["reload"]).await.status.success());
    let asked = client.ask(odin.address("web"), "a.test", "a.test", "/").await;
    assert!(asked.is_err(), "the ticket of a client that was revoked: {asked:?}");
}

#[tokio::test]
async fn the_admin_pages_are_for_those_who_show_a_certificate() {
    let authority = Authority::default();
    let (server, known) = (authority.issue(&["admin.test"]), authority.issue(&["operator.test"]));
    let config = |more: &str| {
        format!(
            "admin = '127.0.0.1:0'\nadmin-tls = {{ certificates = [{}]{more} }}\n[[listeners]]\nname = 'web'\n\
             address = '127.0.0.1:0'\ncluster = 'up'\n[clusters.up]\nendpoints = ['127.0.0.1:1']\n",
            server.pair()
        )
    };
    let asking = format!(", client-auth = 'required', client-ca = {:?}", authority.file());
    let odin = Odin::builder().with_config(config(&asking)).start().await;
    odin.log_contains(&["admin on https://"]).await;
    let address = odin.admin_address();
    let answer = authority.client_with(&[], &known).ask(address, "admin.test", "localhost", "/healthz").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    let refused = authority.client(&[]).ask(address, "admin.test", "localhost", "/healthz").await;
    assert!(refused.is_err(), "{refused:?}");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    let _ = within("an alert", plain.read_to_end(&mut got)).await;
    assert_eq!(got.first(), Some(&0x15), "an alert, and no page: {got:?}");
    // Clients that say nothing keep nobody out, and a reload changes what is asked for.
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    std::fs::write(odin.config_file(), config("")).unwrap();
    assert!(odin.run(&["reload"]).await.status.success());
    let answer = authority.client(&[]).ask(address, "admin.test", "localhost", "/healthz").await.unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
}
