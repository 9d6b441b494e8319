//! The listening sockets of this network namespace: a steered binding would take their connections away.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that listens with TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// Whose it is.
    pub(crate) uid: u32,
}

/// All of them.
pub(crate) fn listening() -> io::Result<Vec<Listening>> {
    let mut sockets = Vec::new();
    // Of this thread: the namespace is a thread's.
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match File::open(table) {
            Ok(file) => read(BufReader::new(file), &mut sockets)?,
            // Without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The kernel writes those that listen first, so a host with a million connections costs no more.
fn read(table: impl BufRead, sockets: &mut Vec<Listening>) -> io::Result<()> {
    const LISTEN: &str = "0A";
    for line in table.lines().skip(1) {
        let line = line?;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state, uid) = (fields.next(), fields.nth(1), fields.nth(3));
        if state != Some(LISTEN) {
            break;
        }
        let (address, uid) = (local.and_then(address), uid.and_then(|uid| uid.parse().ok()));
        sockets.extend(address.zip(uid).map(|(address, uid)| Listening { address, uid }));
    }
    Ok(())
}

/// Words of the address as they lie in memory, then the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut octets = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        octets.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match *octets {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
    };
    // As hidden sockets are written: they are bound to a mapped address.
    Some(SocketAddr::new(address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_up_to_the_first_that_does_not_listen() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 1
   2: 0100007F:1F91 0100007F:1F92 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0100007F:1F93 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
";
        let mut found = Vec::new();
        read(table.as_bytes(), &mut found).unwrap();
        let expected = [("127.0.0.1:8080", 0), ("[::1]:443", 65534)];
        assert_eq!(found, expected.map(|(address, uid)| Listening { address: address.parse().unwrap(), uid }));
    }

    #[test]
    fn a_real_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, uid) = (listener.local_addr().unwrap(), rustix::process::geteuid().as_raw());
        assert!(listening().unwrap().contains(&Listening { address, uid }));
    }
}
