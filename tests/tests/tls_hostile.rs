//! Handshakes that are not what they should be: each gets an alert or a close in time, and costs nobody else anything.

use std::time::Duration;

use odin_tests::tls::Authority;
use odin_tests::{HttpBackend, Odin, Protocol, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A ClientHello (RFC 8446, section 4.1.2) whose parts can be anything.
#[derive(Clone)]
struct Hello {
    version: [u8; 2],
    session: Vec<u8>,
    suites: Vec<u8>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// `server_name` (RFC 6066, section 3).
fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (0, with_length(&[&[0][..], &with_length(name)].concat()))
}

/// ALPN (RFC 7301).
fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[name.len() as u8][..], name].concat()).collect();
    (16, with_length(&list))
}

impl Hello {
    /// One that is good: TLS 1.3 with X25519.
    fn good() -> Hello {
        let key = [&[0, 0x1d, 0, 32][..], &[9; 32]].concat();
        Hello {
            version: [3, 3],
            session: vec![32; 32],
            suites: vec![0x13, 0x01],
            compression: vec![0],
            extensions: vec![
                sni(b"a.test"),
                (10, with_length(&[0, 0x1d])),
                (13, with_length(&[4, 3, 8, 4])),
                (43, vec![2, 3, 4]),
                (51, with_length(&key)),
            ],
        }
    }

    fn without(mut self, number: u16) -> Hello {
        self.extensions.retain(|(other, _)| *other != number);
        self
    }

    fn with(mut self, extension: (u16, Vec<u8>)) -> Hello {
        self = self.without(extension.0);
        self.extensions.push(extension);
        self
    }

    /// The handshake message.
    fn message(&self) -> Vec<u8> {
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(number, body)| [&number.to_be_bytes()[..], &with_length(body)].concat())
            .collect();
        let body = [
            &self.version[..],
            &[7; 32],
            &[self.session.len() as u8],
            &self.session,
            &with_length(&self.suites),
            &[self.compression.len() as u8],
            &self.compression,
            &with_length(&extensions),
        ]
        .concat();
        [&[1, 0][..], &with_length(&body)].concat()
    }

    fn record(&self) -> Vec<u8> {
        record(22, &self.message())
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_length(content)].concat()
}

/// What is sent, by the name of what is wrong with it.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let good = Hello::good;
    let message = good().message();
    let changed = |change: fn(&mut Hello)| {
        let mut hello = good();
        change(&mut hello);
        hello.record()
    };
    let cut = |at: usize, byte: u8| {
        let mut message = message.clone();
        message[at] = byte;
        record(22, &message)
    };
    vec![
        ("nothing but zeros", vec![0; 64]),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16]),
        ("a record of an unknown kind", record(99, &message)),
        ("a heartbeat", record(24, &[1, 0x40, 0])),
        ("an empty handshake record", record(22, &[])),
        ("application data first", record(23, &[1; 32])),
        ("an empty application record", record(23, &[])),
        ("a change of cipher first", record(20, &[1])),
        ("a change of cipher of two bytes", record(20, &[1, 1])),
        ("a change of cipher that is none", record(20, &[7])),
        ("changes of cipher without end", record(20, &[1]).repeat(64)),
        ("a fatal alert", record(21, &[2, 40])),
        ("an alert of one byte", record(21, &[2])),
        ("warnings without end", record(21, &[1, 90]).repeat(64)),
        ("a record longer than may be", [&[22, 3, 1, 0x48, 0x01][..], &vec![1; 0x4801]].concat()),
        ("a record of version 9", [&[22, 9, 9][..], &with_length(&message)].concat()),
        ("a ServerHello", cut(0, 2)),
        ("a Finished", cut(0, 20)),
        ("a KeyUpdate", record(22, &[24, 0, 0, 1, 0])),
        ("a HelloRequest", record(22, &[0, 0, 0, 0])),
        ("an unknown message", cut(0, 0x77)),
        ("a message of 16 MB", cut(1, 0xff)),
        ("a message that is shorter than it says", record(22, &[&message[..], &[0; 3]].concat())),
        ("a session of 33 bytes", changed(|hello| hello.session = vec![1; 33])),
        ("a session of 255 bytes", changed(|hello| hello.session = vec![1; 255])),
        ("no suites", changed(|hello| hello.suites = vec![])),
        ("half a suite", changed(|hello| hello.suites = vec![0x13])),
        ("only suites that nobody knows", changed(|hello| hello.suites = vec![0xca, 0xfe])),
        ("only RC4", changed(|hello| hello.suites = vec![0, 5])),
        ("no compression, not even none", changed(|hello| hello.compression = vec![])),
        ("only deflate", changed(|hello| hello.compression = vec![1])),
        ("only TLS 1.1", good().with((43, vec![2, 3, 2])).record()),
        ("only SSL 3", good().with((43, vec![2, 3, 0])).record()),
        ("no version in the list", good().with((43, vec![0])).record()),
        ("an old version without a list", Hello { version: [3, 1], ..good().without(43) }.record()),
        ("no group", good().with((10, with_length(&[]))).record()),
        ("a group that nobody knows", good().with((10, with_length(&[0x7a, 0x7a]))).without(51).record()),
        ("no key share and no group", good().without(51).without(10).record()),
        ("a key share of two bytes", good().with((51, with_length(&[0, 0x1d, 0, 2, 1, 1]))).record()),
        ("a key share of zeros", good().with((51, with_length(&[&[0, 0x1d, 0, 32][..], &[0; 32]].concat()))).record()),
        ("no signature scheme", good().with((13, with_length(&[]))).record()),
        ("only MD5", good().with((13, with_length(&[1, 1]))).record()),
        ("half a scheme", good().with((13, with_length(&[4]))).record()),
        ("an empty name", good().with(sni(b"")).record()),
        ("a name with a zero byte", good().with(sni(b"a\0.test")).record()),
        ("a name list that is longer than it is", good().with((0, vec![0xff, 0xff, 0, 0, 1, b'a'])).record()),
        ("two names", good().with((0, with_length(&[0, 0, 1, b'a', 0, 0, 1, b'b']))).record()),
        ("no protocol in ALPN", good().with(alpn(&[])).record()),
        ("an empty protocol in ALPN", good().with(alpn(&[b""])).record()),
        ("a protocol that nobody speaks", good().with(alpn(&[b"gopher"])).record()),
        ("the same extension twice", changed(|hello| hello.extensions.push((43, vec![2, 3, 4])))),
        ("a ticket that is none, not at the end", {
            let mut hello = good();
            hello.extensions.insert(0, (41, vec![0; 64]));
            hello.record()
        }),
        (
            "early data without a ticket",
            good().with((42, vec![])).with((45, vec![1, 1])).without(51).without(10).record(),
        ),
    ]
}

/// What a client hears that sends this and then waits.
async fn answered(odin: &Odin, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(odin.address("web")).await.unwrap();
    let _ = stream.write_all(sent).await;
    let mut got = Vec::new();
    let _ = within("an alert or a close", stream.read_to_end(&mut got)).await;
    got
}

#[tokio::test]
async fn a_bad_handshake_ends_with_an_alert_or_a_close_and_hurts_nobody() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["a.test"]).pair());
    let builder = Odin::builder().target(&backend).in_listener(&tls).section("[timeouts]\nheader = '500ms'\n");
    let odin = builder.start().await;
    let client = authority.client(&[]);
    let bad = bad();
    assert!(bad.len() >= 40, "{}", bad.len());
    for (what, sent) in &bad {
        let got = answered(&odin, sent).await;
        // What is wrong with these shows when the ServerHello has gone: the alert is encrypted then.
        let late = ["a protocol that nobody speaks"].contains(what);
        let told = got.first().is_none_or(|kind| *kind == 21);
        assert_ne!(told, late, "{what}: {got:?}");
        client.ask(odin.address("web"), "a.test", "a.test", "/").await.unwrap();
    }
    // Again and again they cost nothing that stays.
    let many = async |times: usize| {
        for _ in 0..times {
            for (_, sent) in bad.iter().filter(|(what, _)| !what.contains("longer")) {
                let mut stream = TcpStream::connect(odin.address("web")).await.unwrap();
                let _ = stream.write_all(sent).await;
            }
        }
    };
    many(20).await;
    let before = odin.resident_bytes();
    many(20).await;
    until("as much memory as before", || async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (odin.resident_bytes() < before + (4 << 20)).then_some(())
    })
    .await;
    assert_eq!(backend.requests(), bad.len());
}

#[tokio::test]
async fn a_good_hello_in_any_pieces_is_answered() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["a.test"]).pair());
    let odin = Odin::builder().target(&backend).in_listener(&tls).start().await;
    let message = Hello::good().message();
    let one_byte_records: Vec<u8> = message.chunks(1).flat_map(|byte| record(22, byte)).collect();
    let two_records = [record(22, &message[..50]), record(22, &message[50..])].concat();
    for sent in [Hello::good().record(), two_records, one_byte_records] {
        for piece in [1, 7, sent.len()] {
            let mut stream = TcpStream::connect(odin.address("web")).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for bytes in sent.chunks(piece) {
                stream.write_all(bytes).await.unwrap();
            }
            let mut got = [0; 6];
            within("a ServerHello", stream.read_exact(&mut got)).await.unwrap();
            assert_eq!((got[0], got[5]), (22, 2), "{got:?}");
        }
    }
}
