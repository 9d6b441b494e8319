//! Version 2 (section 2.2): a signature, a command, a family, a length, then addresses and vectors of type, length, value.

use std::net::{IpAddr, SocketAddr};

use odin_chain::{ProxyFacts, ProxyTls};

use super::{Fault, Header, Origin, Parsed, crc32c};

/// What every header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes in front of the addresses.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;

/// Bits of the first byte of `SSL`: the client came over TLS; it has shown a certificate, now or earlier in its session.
const CLIENT_SSL: u8 = 1;
const CLIENT_CERTIFICATE: u8 = 2 | 4;

/// The most that a unique id may have (section 2.2.5).
const UNIQUE_ID_BYTES: usize = 128;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::Needs(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    if command >> 4 != 2 {
        return Err("the PROXY header has another version than 2 behind its signature");
    }
    if !matches!(command, LOCAL | PROXY) {
        return Err("the PROXY header has an unknown command");
    }
    // Of LOCAL all is to be ignored but the length.
    if command == PROXY && (family >> 4 > 3 || family & 0xf > 2) {
        return Err("the PROXY header has an unknown family or protocol");
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    match length.checked_sub(rest.len()) {
        None => Err("more was read than the PROXY header has"),
        Some(0) if command == LOCAL => Ok(Parsed::Whole(Header::default())),
        Some(0) => Ok(Parsed::Whole(whole(family, bytes)?)),
        Some(needs) => Ok(Parsed::Needs(needs)),
    }
}

/// All of a header whose command is PROXY.
fn whole(family: u8, bytes: &[u8]) -> Result<Header, Fault> {
    let block = &bytes[FIXED..];
    let size = match (family >> 4, family & 0xf) {
        // Nothing says where the addresses of an unknown family or protocol end.
        (0, _) | (_, 0) => return Ok(Header::default()),
        (1, _) => 12,
        (2, _) => 36,
        _ => 216,
    };
    let short = "the PROXY header is too short for its addresses";
    let (addresses, vectors) = block.split_at_checked(size).ok_or(short)?;
    let addresses = match (family, addresses) {
        // Streams: a datagram's addresses, and those of UNIX sockets, are not those of a TCP connection.
        (0x11, addresses) => Some(pair::<4>(addresses).ok_or(short)?),
        (0x21, addresses) => Some(pair::<16>(addresses).ok_or(short)?),
        _ => None,
    };
    Ok(Header { addresses, facts: facts(vectors, bytes)? })
}

/// Two addresses of so many bytes, then their ports.
fn pair<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    let address = |ip: [u8; N], port| SocketAddr::new(IpAddr::from(ip).to_canonical(), u16::from_be_bytes(port));
    Some((address(*source, [a, b]), address(*destination, [c, d])))
}

/// Takes the first vector off: its type and its value.
fn vector<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Fault> {
    if rest.is_empty() {
        return Ok(None);
    }
    let cut = "a vector of the PROXY header goes beyond its end";
    let ([kind, high, low], behind) = rest.split_first_chunk::<3>().ok_or(cut)?;
    let (value, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))).ok_or(cut)?;
    *rest = behind;
    Ok(Some((*kind, value)))
}

/// `bytes` is the whole header, which the vectors end.
fn facts(mut vectors: &[u8], bytes: &[u8]) -> Result<ProxyFacts, Fault> {
    let mut facts = ProxyFacts::default();
    while let Some((kind, value)) = vector(&mut vectors)? {
        match kind {
            ALPN => facts.alpn = Some(value.to_vec()),
            AUTHORITY => facts.authority = Some(text(value)?),
            UNIQUE_ID if value.len() > UNIQUE_ID_BYTES => return Err("the PROXY header's unique id is too long"),
            UNIQUE_ID => facts.unique_id = Some(value.to_vec()),
            SSL => facts.tls = Some(tls(value)?),
            CRC32C => {
                let wanted = value.try_into().map_err(|_| "the PROXY header's checksum is not of four bytes")?;
                let end = bytes.len() - vectors.len();
                let sum = crc32c::of(&[&bytes[..end - 4], &[0; 4], &bytes[end..]]);
                if sum != u32::from_be_bytes(wanted) {
                    return Err("the PROXY header's checksum is wrong");
                }
            }
            _ => {}
        }
    }
    Ok(facts)
}

/// Section 2.2.6: a byte of bits, four of the verification's result, and vectors again.
fn tls(value: &[u8]) -> Result<ProxyTls, Fault> {
    let cut = "the PROXY header's vector about TLS is too short";
    let ([client, verify @ ..], mut vectors) = value.split_first_chunk::<5>().ok_or(cut)?;
    let certificate = client & CLIENT_CERTIFICATE != 0;
    let verified = certificate && *verify == [0; 4];
    let mut tls = ProxyTls { used: client & CLIENT_SSL != 0, certificate, verified, ..ProxyTls::default() };
    while let Some((kind, value)) = vector(&mut vectors)? {
        match kind {
            SSL_VERSION => tls.version = Some(text(value)?),
            SSL_CN => tls.client_name = Some(text(value)?),
            _ => {}
        }
    }
    Ok(tls)
}

fn text(value: &[u8]) -> Result<Box<str>, Fault> {
    str::from_utf8(value).map(Box::from).map_err(|_| "a text in the PROXY header is not UTF-8")
}

/// The header for a connection; LOCAL when it is nobody's.
pub(super) fn encode(origin: Option<&Origin>) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let Some(origin) = origin else {
        out.extend([LOCAL, 0, 0, 0]);
        return out;
    };
    // The length follows at the end.
    out.extend([PROXY, 0, 0, 0]);
    let ports = [origin.peer.port().to_be_bytes(), origin.local.port().to_be_bytes()].concat();
    match (origin.peer.ip(), origin.local.ip()) {
        (IpAddr::V4(peer), IpAddr::V4(local)) => {
            out[FIXED - 3] = 0x11;
            out.extend([peer.octets(), local.octets()].concat());
        }
        (peer, local) => {
            // Of two families the IPv4 address is mapped.
            let wide = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            out[FIXED - 3] = 0x21;
            out.extend([wide(peer), wide(local)].concat());
        }
    }
    out.extend(ports);
    let id = origin.unique_id.as_deref().filter(|id| id.len() <= UNIQUE_ID_BYTES);
    for (kind, value) in [(ALPN, origin.alpn.as_deref()), (AUTHORITY, origin.authority.as_deref()), (UNIQUE_ID, id)] {
        let Some((value, length)) = value.and_then(|value| Some((value, u8::try_from(value.len()).ok()?))) else {
            // Nothing that is longer than a name belongs into a header that must fit into one segment.
            continue;
        };
        out.extend([kind, 0, length]);
        out.extend(value);
    }
    out.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    let length = u16::try_from(out.len() - FIXED).unwrap_or_default();
    out[FIXED - 2..FIXED].copy_from_slice(&length.to_be_bytes());
    let sum = crc32c::of(&[&out]).to_be_bytes();
    let at = out.len() - sum.len();
    out[at..].copy_from_slice(&sum);
    out
}
