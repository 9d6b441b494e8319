//! The keys of a binding in the program's maps: a network and one of its ports.

use std::net::SocketAddr;

use ipnet::Ipv6Net;
use odin_steer_abi as abi;

use crate::{Binding, Ports};

/// A network and a port, or any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// [`abi::ANY_PORT`] for any.
    pub(crate) port: u16,
    /// Of IPv6, where IPv4 is mapped.
    pub(crate) network: Ipv6Net,
}

impl Key {
    /// Of a socket's own address.
    pub(crate) fn of_address(address: SocketAddr) -> Key {
        Key { port: address.port(), network: Binding::from(address).mapped() }
    }

    /// How many bits count in `BINDINGS`, and all of them.
    pub(crate) fn prefix(&self) -> (u32, abi::Key) {
        let bits = abi::KEY_BITS + u32::from(self.network.prefix_len());
        (bits, abi::key(abi::TCP, self.port, words(self.network.addr().octets())))
    }
}

/// The keys of a binding.
pub(crate) fn of(binding: &Binding) -> impl Iterator<Item = Key> + use<> {
    let network = binding.mapped();
    let (first, last) = match binding.ports() {
        Ports::Any => (abi::ANY_PORT, abi::ANY_PORT),
        Ports::Range(first, last) => (first, last),
    };
    (first..=last).map(move |port| Key { port, network })
}

/// The value of `NETWORKS`.
pub(crate) fn network(network: Ipv6Net) -> abi::Network {
    let (mask, address) = (words(network.netmask().octets()), words(network.addr().octets()));
    [mask[0], mask[1], mask[2], mask[3], address[0], address[1], address[2], address[3]]
}

/// Words that lie in memory as the octets do.
fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, octets) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*octets);
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_in_memory_as_the_program_reads_it() {
        let binding: Binding = "192.0.2.0/24:443".parse().unwrap();
        let keys: Vec<_> = of(&binding).collect();
        assert_eq!(keys.len(), 1);
        let (bits, data) = keys[0].prefix();
        assert_eq!(bits, 32 + 96 + 24);
        let octets: Vec<u8> = data.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(octets, [6, 0, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 0]);
        assert_eq!(data, abi::key(6, 443, abi::mapped(u32::from_ne_bytes([192, 0, 2, 0]))));
    }

    #[test]
    fn a_network_has_its_addresses() {
        for (text, inside, outside) in [
            ("192.0.2.0/25:1", "::ffff:192.0.2.127", "::ffff:192.0.2.128"),
            ("0.0.0.0:1", "::ffff:1.2.3.4", "::1"),
            ("[2001:db8::/33]:1", "2001:db8::9", "2001:db8:8000::"),
        ] {
            let value = network(text.parse::<Binding>().unwrap().mapped());
            let has = |address: &str| abi::has(&value, words(address.parse::<std::net::Ipv6Addr>().unwrap().octets()));
            assert!(has(inside) && !has(outside), "{text}");
        }
    }

    #[test]
    fn every_port_of_a_range_has_a_key_and_any_port_has_one() {
        for (text, expected) in [("[::]:7000-7999", 1000), ("[::1]:*", 1), ("0.0.0.0:1-65535", 65535), ("1.2.3.4:5", 1)]
        {
            assert_eq!(of(&text.parse().unwrap()).count(), expected, "{text}");
        }
    }

    #[test]
    fn the_key_of_an_address_is_that_of_its_binding() {
        for text in ["[::1]:9", "127.0.0.1:9"] {
            let binding: Binding = text.parse().unwrap();
            assert_eq!(of(&binding).collect::<Vec<_>>(), [Key::of_address(text.parse().unwrap())]);
        }
    }
}
