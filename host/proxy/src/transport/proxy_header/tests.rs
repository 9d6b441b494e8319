//! Tables of headers: what each of them says, whether it comes at once or byte by byte, and what Odin writes.

use odin_chain::{ProxyFacts, ProxyTls};
use tokio::io::AsyncReadExt as _;

use super::out::{Introduction, Origin, ProxyVersion};
use super::*;

/// Parses as [`read`] does, with at most `step` bytes at a time. Answers how many bytes the header has.
fn parse_in_steps(bytes: &[u8], step: usize) -> Result<(Header, usize), Fault> {
    let mut had = 0;
    loop {
        match parse(&bytes[..had])? {
            Parsed::Whole(header) => return Ok((header, had)),
            Parsed::Needs(0) => panic!("needs nothing at {had}"),
            Parsed::Needs(_) if had == bytes.len() => return Err("cut"),
            Parsed::Needs(needs) => had = bytes.len().min(had + needs.min(step)),
        }
    }
}

fn both_ways(bytes: &[u8]) -> Result<Header, Fault> {
    let behind = [bytes, b"payload\r\n"].concat();
    let parsed = parse_in_steps(&behind, usize::MAX);
    // What is wrong may be seen in another place first.
    assert_eq!(parse_in_steps(&behind, 1).ok(), parsed.clone().ok(), "{bytes:?}");
    if let Ok((_, length)) = &parsed {
        assert_eq!(*length, bytes.len(), "what follows stays: {bytes:?}");
        let cut = (1..bytes.len()).find(|cut| parse_in_steps(&bytes[..*cut], usize::MAX) != Err("cut"));
        assert_eq!(cut, None, "a part of {bytes:?} is not whole");
    }
    parsed.map(|(header, _)| header)
}

fn addresses(from: &str, to: &str) -> Option<(SocketAddr, SocketAddr)> {
    Some((from.parse().unwrap(), to.parse().unwrap()))
}

#[test]
fn lines_of_version_1() {
    let wide = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let table = [
        ("TCP4 192.168.0.1 192.168.0.11 56324 443", addresses("192.168.0.1:56324", "192.168.0.11:443")),
        ("TCP4 1.1.1.1 1.1.1.1 1 1", addresses("1.1.1.1:1", "1.1.1.1:1")),
        ("TCP4 0.0.0.0 0.0.0.0 0 0", addresses("0.0.0.0:0", "0.0.0.0:0")),
        (
            "TCP4 255.255.255.255 255.255.255.255 65535 65535",
            addresses("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        ("TCP6 2001:db8::1 2001:DB8::2 56324 443", addresses("[2001:db8::1]:56324", "[2001:db8::2]:443")),
        ("TCP6 :: ::1 1 2", addresses("[::]:1", "[::1]:2")),
        ("TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2", addresses("192.0.2.1:1", "192.0.2.2:2")),
        (&format!("TCP6 {wide} {wide} 65535 65535"), addresses(&format!("[{wide}]:65535"), &format!("[{wide}]:65535"))),
        ("UNKNOWN", None),
        ("UNKNOWN ", None),
        ("UNKNOWN anything  at\tall, \u{e9}", None),
        // The longest line there is.
        (&format!("UNKNOWN {wide} {wide} 65535 65535"), None),
    ];
    for (line, expected) in table {
        let header = both_ways(format!("PROXY {line}\r\n").as_bytes());
        assert_eq!(header, Ok(Header { addresses: expected, ..Header::default() }), "{line}");
    }
}

#[test]
fn what_is_no_line_of_version_1() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    let table: [(&[u8], &str); 28] = [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
        (b"G", "no PROXY header"),
        (b"\x16\x03\x01\x02\0\x01\0", "no PROXY header"),
        (b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "no PROXY header"),
        (b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n", "no PROXY header"),
        (b" PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "no PROXY header"),
        (b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "too many spaces"),
        (b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "family"),
        (b"PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", "family"),
        (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", "family"),
        (b"PROXY UNKNOWNX 1.1.1.1 1.1.1.1 1 1\r\n", "family"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "the line of the PROXY header"),
        (b"PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", "too many spaces"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "too many spaces"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", "too many spaces"),
        (b"PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", "address"),
        (b"PROXY TCP4 256.1.1.1 1.1.1.1 1 1\r\n", "address"),
        (b"PROXY TCP4 1.1.1 1.1.1.1.1 1 1\r\n", "address"),
        (b"PROXY TCP4 ::1 ::1 1234567 1234567\r\n", "address"),
        (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", "address"),
        (b"PROXY TCP6 fe80::1%lo fe80::2 1 1\r\n", "address"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n", "port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\nmore than the line", "without CR LF"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rmore than the line", "without CR LF"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 \xff1 1\r\n", "ASCII"),
        (long.as_bytes(), "longer than 107"),
    ];
    for (bytes, expected) in table {
        let fault = both_ways(bytes).unwrap_err();
        assert!(fault.contains(expected), "{:?}: {fault}", bytes.escape_ascii().to_string());
    }
}

/// A header of version 2 with this command, family and block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// 192.0.2.1:5000 to 192.0.2.2:443.
const INET: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 1, 0xbb];

fn inet_with(vectors: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[INET.to_vec(), vectors.concat()].concat())
}

/// The checksum as the last vector.
fn sealed(mut vectors: Vec<Vec<u8>>) -> Vec<u8> {
    vectors.push(tlv(3, &[0; 4]));
    let mut header = inet_with(&vectors);
    let at = header.len() - 4;
    let sum = crc32c::of(&[&header]).to_be_bytes();
    header[at..].copy_from_slice(&sum);
    header
}

#[test]
fn headers_of_version_2() {
    let inet = addresses("192.0.2.1:5000", "192.0.2.2:443");
    let inet6 = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets()).concat();
    let mapped = ["::ffff:192.0.2.1", "2001:db8::2"].map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let ports = [0x13, 0x88, 1, 0xbb];
    let table = [
        (v2(0x21, 0x11, &INET), inet),
        (v2(0x21, 0x21, &[&inet6[..], &ports].concat()), addresses("[2001:db8::1]:5000", "[2001:db8::2]:443")),
        (v2(0x21, 0x21, &[&mapped.concat()[..], &ports].concat()), addresses("192.0.2.1:5000", "[2001:db8::2]:443")),
        (inet_with(&[tlv(4, b"padding")]), inet),
        (inet_with(&[tlv(4, b""), tlv(0x30, b"netns"), tlv(0xe0, b"own"), tlv(0xff, b"")]), inet),
        (inet_with(&[tlv(0xe1, &[7; 60_000])]), inet),
        (sealed(vec![]), inet),
        (sealed(vec![tlv(4, b"before it")]), inet),
        // LOCAL: everything but the length is ignored.
        (v2(0x20, 0, b""), None),
        (v2(0x20, 0x11, &INET), None),
        (v2(0x20, 0xff, b"what is no family"), None),
        // What a TCP connection has no use for.
        (v2(0x21, 0, b""), None),
        (v2(0x21, 0, &INET), None),
        (v2(0x21, 0x01, b"abc"), None),
        (v2(0x21, 0x10, b"abc"), None),
        (v2(0x21, 0x12, &INET), None),
        (v2(0x21, 0x22, &[&inet6[..], &ports].concat()), None),
        (v2(0x21, 0x31, &[7; 216]), None),
        (v2(0x21, 0x32, &[7; 216]), None),
    ];
    for (bytes, expected) in table {
        let header = both_ways(&bytes);
        assert_eq!(header, Ok(Header { addresses: expected, ..Header::default() }), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_header_of_version_2() {
    let mut broken = sealed(vec![tlv(2, b"a.example")]);
    broken[20] ^= 1;
    let table = [
        (b"\r\n\r\n\0\r\nQUIT\r!\x11\0\x0c".to_vec(), "no PROXY header"),
        (b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(), "no PROXY header"),
        (v2(0x11, 0x11, &INET), "version"),
        (v2(0x31, 0x11, &INET), "version"),
        (v2(0x22, 0x11, &INET), "command"),
        (v2(0x2f, 0x11, &INET), "command"),
        (v2(0x21, 0x41, &INET), "family"),
        (v2(0x21, 0x13, &INET), "family"),
        (v2(0x21, 0x11, &INET[1..]), "too short"),
        (v2(0x21, 0x11, b""), "too short"),
        (v2(0x21, 0x21, &INET), "too short"),
        (v2(0x21, 0x31, &[0; 215]), "too short"),
        (inet_with(&[vec![1]]), "beyond its end"),
        (inet_with(&[vec![1, 0]]), "beyond its end"),
        (inet_with(&[vec![1, 0, 1]]), "beyond its end"),
        (inet_with(&[tlv(4, b""), vec![1, 0xff, 0xff, 0]]), "beyond its end"),
        (inet_with(&[tlv(2, b"\xff")]), "UTF-8"),
        (inet_with(&[tlv(5, &[0; 129])]), "unique id"),
        (inet_with(&[tlv(3, &[0; 4])]), "checksum is wrong"),
        (inet_with(&[tlv(3, &[0; 3])]), "four bytes"),
        (inet_with(&[tlv(3, &[0; 5])]), "four bytes"),
        (broken, "checksum is wrong"),
        (inet_with(&[tlv(0x20, &[1, 0, 0, 0])]), "about TLS"),
        (inet_with(&[tlv(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9, b'x'])]), "beyond its end"),
        (inet_with(&[tlv(0x20, &[1, 0, 0, 0, 0, 0x22, 0, 1, 0xff])]), "UTF-8"),
    ];
    for (bytes, expected) in table {
        let fault = both_ways(&bytes).unwrap_err();
        assert!(fault.contains(expected), "{}: {fault}", bytes.escape_ascii());
    }
}

#[test]
fn vectors_become_facts() {
    let version = tlv(0x21, b"TLSv1.3");
    let tls = |client: u8, verify: u8, more: &[Vec<u8>]| {
        let value = [&[client, 0, 0, 0, verify][..], &more.concat()].concat();
        both_ways(&inet_with(&[tlv(0x20, &value)])).unwrap().facts.tls.unwrap()
    };
    let seen = ProxyTls { used: true, version: Some("TLSv1.3".into()), ..ProxyTls::default() };
    assert_eq!(tls(1, 1, &[version.clone(), tlv(0x23, b"a cipher")]), seen);
    // Nothing was shown, so nothing was verified, whatever the result says.
    assert_eq!(tls(1, 0, std::slice::from_ref(&version)), seen);
    let shown = ProxyTls { certificate: true, verified: true, client_name: Some("client".into()), ..seen };
    assert_eq!(tls(3, 0, &[version.clone(), tlv(0x22, b"client")]), shown);
    assert_eq!(tls(5, 0, &[tlv(0x22, b"client"), version.clone()]), shown, "shown earlier in the session");
    assert!(!tls(3, 1, &[version]).verified);
    assert!(!tls(0, 0, &[]).used);

    let facts = both_ways(&inet_with(&[tlv(1, b"h2"), tlv(2, b"a.example"), tlv(5, b"\0id")])).unwrap().facts;
    let expected = ProxyFacts {
        alpn: Some(b"h2".to_vec()),
        authority: Some("a.example".into()),
        unique_id: Some(b"\0id".to_vec()),
        ..ProxyFacts::default()
    };
    assert_eq!(facts, expected);
}

#[test]
fn the_checksum_is_that_of_the_rfc() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c::of(&[&[0; 32]]), 0x8a91_36aa);
    assert_eq!(crc32c::of(&[&[0xff; 16], &[0xff; 16]]), 0x62a8_ab43);
    assert_eq!(crc32c::of(&[b"123456789"]), 0xe306_9283);
}

fn origin(peer: &str, local: &str) -> Origin {
    let (peer, local) = addresses(peer, local).unwrap();
    Origin { peer, local, authority: None, alpn: None, unique_id: None }
}

#[test]
fn what_odin_writes_in_version_1() {
    let own = addresses("127.0.0.1:40000", "127.0.0.1:9000");
    let line = |origin, own| String::from_utf8(Introduction { version: ProxyVersion::V1, origin }.encode(own)).unwrap();
    let table = [
        (Some(origin("192.0.2.1:5000", "192.0.2.2:443")), "PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n"),
        (Some(origin("[2001:db8::1]:1", "[::1]:65535")), "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"),
        (Some(origin("192.0.2.1:5000", "[::1]:443")), "PROXY UNKNOWN\r\n"),
        (Some(origin("[::1]:5000", "192.0.2.1:443")), "PROXY UNKNOWN\r\n"),
        (None, "PROXY TCP4 127.0.0.1 127.0.0.1 40000 9000\r\n"),
    ];
    for (origin, expected) in table {
        assert_eq!(line(origin, own), expected);
    }
    assert_eq!(line(None, None), "PROXY UNKNOWN\r\n");
}

#[test]
fn what_odin_writes_in_version_2_reads_the_same() {
    let written = |origin| Introduction { version: ProxyVersion::V2, origin }.encode(None);
    assert_eq!(written(None), v2(0x20, 0, b""));
    let long = vec![b'x'; 300];
    let table = [
        (origin("192.0.2.1:5000", "192.0.2.2:443"), 0x11, 12),
        (origin("[2001:db8::1]:5000", "[2001:db8::2]:443"), 0x21, 36),
        (origin("192.0.2.1:5000", "[2001:db8::2]:443"), 0x21, 36),
        (origin("[2001:db8::1]:5000", "192.0.2.2:443"), 0x21, 36),
    ];
    for (plain, family, size) in table {
        let bytes = written(Some(plain.clone()));
        assert_eq!((bytes[12], bytes[13], bytes.len()), (0x21, family, 16 + size + 7));
        let full = Origin {
            alpn: Some(b"h2"[..].into()),
            authority: Some(b"a.example"[..].into()),
            unique_id: Some(b"id"[..].into()),
            ..plain.clone()
        };
        let header = both_ways(&written(Some(full))).unwrap();
        assert_eq!(header.addresses, Some((plain.peer, plain.local)));
        assert_eq!(header.facts.alpn.as_deref(), Some(&b"h2"[..]));
        assert_eq!(header.facts.authority.as_deref(), Some("a.example"));
        assert_eq!(header.facts.unique_id.as_deref(), Some(&b"id"[..]));
        // It must fit into one segment: what is too long is left out.
        let long = Some(long.as_slice().into());
        let large = Origin { authority: long.clone(), unique_id: long, ..plain };
        assert_eq!(written(Some(large)), bytes);
    }
}

#[tokio::test]
async fn what_follows_the_header_is_not_read() {
    for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n"[..], &inet_with(&[tlv(1, b"h2")])] {
        let sent = [header, b"payload"].concat();
        let mut io = &sent[..];
        let read = read(&mut io).await.unwrap();
        assert_eq!(read.addresses, addresses("192.0.2.1:5000", "192.0.2.2:443"));
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"payload");
    }
    assert!(matches!(read(&mut &b""[..]).await, Err(Unread::Nothing)));
    assert!(matches!(read(&mut &b"PROXY "[..]).await, Err(Unread::Malformed(_))));
}
