//! ClientHellos of rustls's own client, in all pieces.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::transport::pair::pair;

/// What a client sends first.
fn hello(name: &'static str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    sent
}

/// The same handshake message in records of so many bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8], piece].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

fn asks(sni: Option<&str>, alpn: &[&str]) -> Hello {
    Hello { sni: sni.map(Arc::from), alpn: alpn.iter().map(|name| name.as_bytes().into()).collect() }
}

/// Feeds the bytes in pieces of this size.
fn fed(bytes: &[u8], size: usize) -> Result<Option<Hello>, Refused> {
    let mut acceptor = Acceptor::default();
    for mut piece in bytes.chunks(size) {
        if let Some((hello, _)) = take(&mut acceptor, &mut piece)? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

#[test]
fn a_hello_is_read_however_it_comes() {
    let sent = hello("Api.Example.com", &["h2", "http/1.1"]);
    assert!(sent.len() > 1400, "with a post-quantum key share it fills no segment: {}", sent.len());
    let whole = || Ok(Some(asks(Some("api.example.com"), &["h2", "http/1.1"])));
    for size in [1, 2, 5, 6, 100, 1400, 4096, 65_536] {
        assert_eq!(fed(&sent, size), whole(), "in pieces of {size}");
        assert_eq!(fed(&[&sent[..], b"what follows"].concat(), size), whole(), "in pieces of {size}");
        assert_eq!(fed(&sent[..sent.len() - 1], size), Ok(None));
    }
    for record in [1, 3, 4, 100, 1000] {
        for size in [1, 7, 65_536] {
            assert_eq!(fed(&in_records(&sent, record), size), whole(), "records of {record} in pieces of {size}");
        }
    }
    assert_eq!(fed(&hello("192.0.2.1", &[]), 65_536), Ok(Some(asks(None, &[]))));
}

#[test]
fn what_is_no_hello_gets_an_alert() {
    let sent = hello("a.example", &[]);
    let mut compressed = sent.clone();
    // The list of compression methods comes behind the random value, the session and the suites.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(sent[session]);
    let methods = suites + 2 + usize::from(u16::from_be_bytes([sent[suites], sent[suites + 1]]));
    assert_eq!(sent[methods..][..2], [1, 0]);
    compressed[methods + 1] = 1;
    let (mut server, mut large) = (sent.clone(), sent.clone());
    server[5] = 2;
    large[6] = 1;
    let cases: [(&str, &[u8]); 9] = [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        ("SSL 2.0", &[0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16, 1, 0, 0x80]),
        ("no record", &[0xff; 64]),
        ("an alert", &[21, 3, 3, 0, 2, 2, 40]),
        ("application data", &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("a ServerHello", &server),
        ("a length of more than 64 KiB", &large),
        ("no null compression", &compressed),
        ("a record of nothing", &[22, 3, 1, 0, 0]),
    ];
    for (what, bytes) in cases {
        for size in [1, 65_536] {
            let refused = fed(bytes, size).unwrap_err();
            assert_eq!(refused.alert[..1], [21], "{what}: {refused:?}");
            assert_eq!(refused.alert[5], 2, "{what}: fatal");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_or_is_late_is_not_told_anything() {
    let sent = hello("a.example", &[]);
    for (bytes, leaves) in [(&[][..], true), (&sent[..100], true), (&[], false), (&sent[..1], false)] {
        let (mut client, conn) = pair(64 * 1024);
        let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
        new.deadline.set(Duration::from_millis(20));
        client.write_all(bytes).await.unwrap();
        if leaves {
            client.shutdown().await.unwrap();
        }
        let refused = read(&mut new, &Drain::default()).await.unwrap_err();
        assert!(refused.alert.is_empty(), "{refused:?}");
    }
}

#[tokio::test]
async fn what_was_read_is_kept_and_the_size_has_a_bound() {
    let sent = hello("a.example", &["h2"]);
    let (mut client, conn) = pair(256 * 1024);
    let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
    client.write_all(&[&sent[..], b"early"].concat()).await.unwrap();
    assert_eq!(read(&mut new, &Drain::default()).await.map(|(hello, _)| hello), Ok(asks(Some("a.example"), &["h2"])));
    assert_eq!(new.reader.buffer, [&sent[..], b"early"].concat());

    // A hello that says that it has more, in records of one byte.
    let (mut client, conn) = pair(256 * 1024);
    let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
    let endless = [&[22, 3, 1, 0, 4, 1, 0, 255, 255][..], &[22, 3, 1, 0, 1, 0].repeat(20_000)].concat();
    client.write_all(&endless).await.unwrap();
    let refused = read(&mut new, &Drain::default()).await.unwrap_err();
    assert_eq!(refused.alert[..1], [21], "{refused:?}");
    assert!(new.reader.buffer.len() <= 2 * LARGEST);
}
