//! Durations, sizes, addresses and names as people write them, and back. Must never guess a unit or a port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use odin_steer::Binding;

use super::schema::EndpointAddress;

/// More than any timer needs, less than what overflows one.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) const DURATION_UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `"250ms"`, `"10s"`, `"5m"`, `"1h"`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let help = r#"write a whole number and us, ms, s, m or h, for example "250ms" or "10s""#;
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(format!("`{text}` is not a duration; {help}"));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit; {help}"));
    }
    let Some((_, micros)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{text}` is not a duration; {help}"));
    };
    let micros = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*micros));
    match micros.map(Duration::from_micros) {
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(format!("`{text}` is longer than a year; write a shorter time")),
    }
}

/// `"64KiB"`, `"16MiB"`, `"1GiB"`, `"512B"` or plain bytes: `"65536"`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let help = r#"write a whole number and B, KiB, MiB or GiB, for example "64KiB""#;
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(format!("`{text}` is not a size; {help}"));
    }
    let unit = if unit.is_empty() { "B" } else { unit };
    let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{text}` is not a size; {help}"));
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes));
    bytes.ok_or_else(|| format!("`{text}` is too large; {help}"))
}

/// The digits in front, and the rest without the space between.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A duration as [`duration`] reads it.
pub(super) fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let fits = |(_, unit): &&(&str, u64)| micros.is_multiple_of(u128::from(*unit));
    match DURATION_UNITS.iter().rev().find(fits) {
        Some((name, unit)) if micros > 0 => format!("{}{name}", micros / u128::from(*unit)),
        _ => format!("{}s", duration.as_secs()),
    }
}

/// A size as [`size`] reads it.
pub(super) fn format_size(bytes: u64) -> String {
    match SIZE_UNITS.iter().rev().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((name, unit)) if bytes > 0 => format!("{}{name}", bytes / unit),
        _ => format!("{bytes}B"),
    }
}

/// What a listener takes connections for: `"127.0.0.1:8080"`, `"[::]:7000-7999"`, `"192.0.2.0/24:80"`, `"10.0.0.1:*"`.
pub(crate) fn binding(text: &str) -> Result<Binding, String> {
    text.parse().map_err(|error| match socket_address(text) {
        // What looks like a single address is told what is wrong with it as one.
        Err(message) if !text.contains(['/', '*', '-', '%']) || text.contains("://") || !text.contains(':') => message,
        _ => error,
    })
}

/// An address to listen on: `"127.0.0.1:8080"` or `"[::1]:8080"`.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let help = r#"write IP:port, for example "127.0.0.1:8080""#;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; {help}"));
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(format!("`{text}` has no port; {help}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` is not an address; {help}"))?;
    if host.is_empty() && port.parse::<u16>().is_ok() {
        return Err(format!(r#"`{text}` has no IP address; write "0.0.0.0:{port}" for every address of this machine"#));
    }
    if port.parse::<u16>().is_err() {
        return Err(bad_port(text, port));
    }
    if is_host_name(host) {
        let here = format!("`{host}` is a host name, and a listener needs an IP address");
        return Err(format!(r#"{here}; write IP:port, for example "127.0.0.1:{port}""#));
    }
    Err(format!("`{text}` is not an address; {help}"))
}

/// An address to connect to: like [`socket_address`], or `"name:port"`.
pub(crate) fn endpoint_address(text: &str) -> Result<EndpointAddress, String> {
    let help = r#"write IP:port or name:port, for example "127.0.0.1:9000""#;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(bad_port(text, "0")),
            _ => Ok(EndpointAddress::Ip(address)),
        };
    }
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; {help}"));
    }
    let no_port = text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || is_host_name(text);
    if no_port {
        return Err(format!("`{text}` has no port; {help}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` is not an address; {help}"))?;
    match port.parse() {
        Err(_) | Ok(0) => Err(bad_port(text, port)),
        Ok(port) if is_host_name(host) => Ok(EndpointAddress::Name { host: host.to_owned(), port }),
        Ok(_) => Err(format!("`{text}` is not an address; {help}")),
    }
}

fn bad_port(text: &str, port: &str) -> String {
    if port.is_empty() {
        return format!("`{text}` has no port; write a number from 1 to 65535 behind the colon");
    }
    format!("`{text}` has the port `{port}`; a port is a number from 1 to 65535")
}

/// Letters, digits, `-`, `_` and `.`; the last label is not a number (that would be a mistyped IP address).
fn is_host_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    let numeric_end = labels().next_back().is_none_or(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && labels().all(|label| !label.is_empty() && label.chars().all(good)) && !numeric_end
}

/// A name that shows up in logs, metrics and admin paths.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '\\' | '"' | '?' | '#' | '%');
    if name.is_empty() {
        return Err("a name cannot be empty".to_owned());
    }
    match name.chars().find(|c| bad(*c)) {
        None => Ok(()),
        Some(c) => Err(format!("the name {name:?} contains {c:?}; use letters, digits, `-`, `_` and `.`")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_survive_the_way_there_and_back() {
        for text in ["0s", "250ms", "10s", "90s", "5m", "1h", "1500us"] {
            let read = duration(text).unwrap();
            assert_eq!(duration(&format_duration(read)), Ok(read), "{text}");
        }
        assert_eq!(duration("1500ms").map(format_duration), Ok("1500ms".to_owned()));
        assert_eq!(duration("120 s").map(format_duration), Ok("2m".to_owned()));
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for (text, bytes) in [("0", 0), ("65536", 65536), ("64KiB", 65536), ("16 MiB", 16 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&format_size(bytes)), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn an_endpoint_may_be_a_name_and_a_listener_may_not() {
        for good in ["127.0.0.1:1", "[::1]:65535", "db:5432", "tcp-echo.example.:5001", "a_b.c-d:80"] {
            let address = endpoint_address(good).unwrap();
            assert_eq!(address.to_string(), good);
        }
        for bad in
            ["", ":80", "a b:80", "300.1.1.1:80", "x:0", "127.0.0.1:0", "x:65536", "x", "::1", "http://x:80", "..:1"]
        {
            assert!(endpoint_address(bad).is_err(), "{bad}");
        }
        for good in ["127.0.0.1:0", "0.0.0.0:80", "[::]:80"] {
            assert_eq!(socket_address(good).map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "localhost:80", ":80", "127.0.0.1", "[::1]", "1.2.3.4:99999", "1.2.3:80", "127.0.0.1:"] {
            assert!(socket_address(bad).is_err(), "{bad}");
        }
    }
}
