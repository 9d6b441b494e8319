//! Version 1 (section 2.1): one line of text, such as `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Fault, Header, Parsed};

/// What every line begins with.
pub(super) const PREFIX: &[u8] = b"PROXY ";
/// The longest line, with its end.
const LONGEST: usize = 107;
/// Spaces in a line with addresses.
const SPACES: usize = 5;

/// The line has no length in front, so it is read in steps that cannot go beyond its end.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    if let Some(line) = bytes.strip_suffix(b"\r\n") {
        return Ok(Parsed::Whole(whole(line)?));
    }
    if bytes.len() >= LONGEST {
        return Err("the line of the PROXY header is longer than 107 bytes");
    }
    let rest = &bytes[PREFIX.len()..];
    let end = if bytes.ends_with(b"\r") { 1 } else { 2 };
    let needs = match unknown(rest) {
        true => end,
        // Each field that is not begun is a space and a character at least.
        false => {
            let spaces = bytes.iter().filter(|byte| **byte == b' ').count();
            let missing = SPACES.checked_sub(spaces).ok_or("the line of the PROXY header has too many spaces")?;
            if rest.iter().rev().skip(2 - end).any(|byte| matches!(byte, b'\r' | b'\n')) {
                return Err("the line of the PROXY header ends without CR LF");
            }
            2 * missing + usize::from(bytes.ends_with(b" ")) + end
        }
    };
    Ok(Parsed::Needs(needs.min(LONGEST - bytes.len())))
}

/// Whatever follows the word is to be ignored.
fn unknown(rest: &[u8]) -> bool {
    rest.strip_prefix(b"UNKNOWN").is_some_and(|rest| matches!(rest.first(), None | Some(b' ' | b'\r')))
}

/// A line without its end.
fn whole(line: &[u8]) -> Result<Header, Fault> {
    let rest = &line[PREFIX.len()..];
    if unknown(rest) {
        return Ok(Header::default());
    }
    let text = str::from_utf8(rest).map_err(|_| "the line of the PROXY header is not ASCII")?;
    let mut fields = text.split(' ');
    let mut next = || fields.next().ok_or("the line of the PROXY header lacks a field");
    let address: fn(&str) -> Option<IpAddr> = match next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        // With an IPv4 address at its end as well: that is how `inet_ntop` writes a mapped one.
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical()),
        _ => return Err("the PROXY header has another family than TCP4, TCP6 and UNKNOWN"),
    };
    let wrong = "an address in the PROXY header is not of its family";
    let (source, destination) = (address(next()?).ok_or(wrong)?, address(next()?).ok_or(wrong)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if fields.next().is_some() {
        return Err("the line of the PROXY header has a field too many");
    }
    let (source, destination) = (SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port));
    Ok(Header { addresses: Some((source, destination)), ..Header::default() })
}

/// Without a sign, and without zeros in front.
fn port(text: &str) -> Result<u16, Fault> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or("a port in the PROXY header is not a number from 0 to 65535")
}

/// The line for a connection. `None`, or addresses of two families: no address can be told.
pub(super) fn encode(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let family = match addresses {
        Some((SocketAddr::V4(_), SocketAddr::V4(_))) => "TCP4",
        Some((SocketAddr::V6(_), SocketAddr::V6(_))) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    let Some((from, to)) = addresses else { return Vec::new() };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}
