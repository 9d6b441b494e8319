//! A binding: the addresses and ports of one entry of a listener, as a person writes it: `0.0.0.0:5001`,
//! `192.0.2.0/24:80`, `[::]:7000-7999`, `[2001:db8::/32]:*`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Addresses and ports that a listener takes connections for. `0.0.0.0` and `[::]` without a prefix mean every address,
/// and `[::]` takes IPv4 as well, as a socket bound to them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    /// Host bits are zero.
    network: IpNet,
    ports: Ports,
}

/// The ports of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// Every port: `*`.
    Any,
    /// From and to, both taken. From is not above to; both are zero when the system shall choose.
    Range(u16, u16),
}

impl Binding {
    /// The network; host bits are zero.
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// The ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The system chooses the port, so only a bound socket can serve it.
    pub fn system_chooses_port(&self) -> bool {
        self.ports == Ports::Range(0, 0)
    }

    /// What plain sockets would be bound to; none for a prefix or for every port, which no socket can be bound to.
    pub fn socket_addresses(&self) -> Option<impl ExactSizeIterator<Item = SocketAddr> + use<>> {
        let (Ports::Range(first, last), true) = (self.ports, self.is_address()) else { return None };
        let address = self.network.addr();
        // A range of u16 knows its length, an inclusive one does not.
        Some((0..usize::from(last - first) + 1).map(move |at| SocketAddr::new(address, first + at as u16)))
    }

    /// Whether a connection to some address and port matches both.
    pub fn overlaps(&self, other: &Binding) -> bool {
        let ports = match (self.ports, other.ports) {
            (Ports::Any, _) | (_, Ports::Any) => true,
            (Ports::Range(a, b), Ports::Range(c, d)) => a != 0 && c != 0 && a <= d && c <= b,
        };
        let (a, b) = (self.mapped(), other.mapped());
        ports && (a.contains(&b) || b.contains(&a))
    }

    /// The network in the space of IPv6, where IPv4 is `::ffff:0:0/96`.
    pub fn mapped(&self) -> Ipv6Net {
        match self.network {
            IpNet::V6(network) => network,
            IpNet::V4(network) => Ipv6Net::new_assert(network.addr().to_ipv6_mapped(), network.prefix_len() + 96),
        }
    }

    /// One address, or every address.
    fn is_address(&self) -> bool {
        let length = self.network.prefix_len();
        length == 0 || length == self.network.max_prefix_len()
    }
}

impl From<SocketAddr> for Binding {
    fn from(address: SocketAddr) -> Self {
        let network = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpNet::V6(Ipv6Net::default()),
            address => IpNet::from(address),
        };
        Binding { network, ports: Ports::Range(address.port(), address.port()) }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.network.addr();
        let length = if self.is_address() { String::new() } else { format!("/{}", self.network.prefix_len()) };
        match address {
            IpAddr::V4(address) => write!(f, "{address}{length}:")?,
            IpAddr::V6(address) => write!(f, "[{address}{length}]:")?,
        }
        match self.ports {
            Ports::Any => f.write_str("*"),
            Ports::Range(first, last) if first == last => write!(f, "{first}"),
            Ports::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = r#"write IP:port, for example "127.0.0.1:8080", "[::]:7000-7999" or "192.0.2.0/24:80""#;
        let (host, ports) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; {FORMS}"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(format!("`{text}`: an IPv6 address stands in brackets; {FORMS}"));
        }
        let inner = bracketed.unwrap_or(host);
        let network = match inner.contains('/') {
            true => inner.parse::<IpNet>().map_err(|_| format!("`{inner}` is not a prefix; {FORMS}"))?,
            false => {
                let address = inner.parse().map_err(|_| format!("`{inner}` is not an IP address; {FORMS}"))?;
                Binding::from(SocketAddr::new(address, 0)).network
            }
        };
        if bracketed.is_some() != matches!(network, IpNet::V6(_)) {
            return Err(format!("`{text}`: brackets go with IPv6, and only with it; {FORMS}"));
        }
        if network.trunc() != network {
            return Err(format!(
                "`{inner}` has bits beyond its prefix length; write {} for the prefix, or leave the length out",
                network.trunc()
            ));
        }
        let ports = self::ports(ports).ok_or_else(|| format!("`{ports}` is no port, range or `*`; {FORMS}"))?;
        let binding = Binding { network, ports };
        if binding.system_chooses_port() && !binding.is_address() {
            return Err(format!("`{text}`: the system can choose a port for one address only; name a port"));
        }
        Ok(binding)
    }
}

fn ports(text: &str) -> Option<Ports> {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    match text.split_once('-') {
        None if text == "*" => Some(Ports::Any),
        None => port(text).map(|port| Ports::Range(port, port)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first > 0 && first <= last).then_some(Ports::Range(first, last))
        }
    }
}

impl Serialize for Binding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn binding(text: &str) -> Binding {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "127.0.0.1:8080",
            "0.0.0.0:5001",
            "192.0.2.0/24:80",
            "[::]:7000-7999",
            "[2001:db8::/32]:*",
            "[::1]:0",
            "10.0.0.0/8:*",
        ] {
            assert_eq!(binding(text).to_string(), text);
        }
        assert_eq!(binding("10.0.0.1/32:80").to_string(), "10.0.0.1:80");
        assert_eq!(binding("0.0.0.0/0:80"), binding("0.0.0.0:80"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in [
            "",
            "80",
            "localhost:80",
            "::1:80",
            "[127.0.0.1]:80",
            "192.0.2.1/24:80",
            "1.2.3.4:9-8",
            "1.2.3.4:0-8",
            "1.2.3.4:+8",
            "10.0.0.0/8:0",
            "1.2.3.4:70000",
            "1.2.3.4:",
            "1.2.3.4/33:1",
            "[::1:80",
        ] {
            let error = text.parse::<Binding>().unwrap_err();
            assert!(!error.is_empty(), "{text}");
        }
    }

    #[test]
    fn overlap_needs_a_common_address_and_a_common_port() {
        let overlap = |a, b| binding(a).overlaps(&binding(b));
        assert!(overlap("0.0.0.0:80", "192.0.2.1:80"));
        assert!(overlap("[::]:1-100", "192.0.2.0/24:80"));
        assert!(overlap("192.0.2.7:22", "192.0.2.0/24:*"));
        assert!(!overlap("192.0.2.0/25:80", "192.0.2.128/25:80"));
        assert!(!overlap("[2001:db8::1]:80", "0.0.0.0:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.1:81-90"));
    }

    #[test]
    fn only_addresses_with_ports_can_be_bound() {
        let sockets = |text| binding(text).socket_addresses().map(|addresses| addresses.len());
        assert_eq!(sockets("[::]:7000-7999"), Some(1000));
        assert_eq!(sockets("0.0.0.0:1-65535"), Some(65535));
        assert_eq!(sockets("192.0.2.0/24:80"), None);
        assert_eq!(sockets("192.0.2.1:*"), None);
    }
}
