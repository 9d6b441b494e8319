//! Whether connections to an address come to this host at all: steering, unlike a bound socket, takes any address
//! without asking.

use std::io::ErrorKind;
use std::net::UdpSocket;

use odin_steer::Binding;

/// Warns of an address that the host does not take connections for.
pub(super) fn check(listener: &str, binding: &Binding) {
    let network = binding.network();
    if network.prefix_len() == 0 {
        return;
    }
    // Of a network that an interface is in, the first address is for broadcasts.
    let address = network.hosts().next().unwrap_or(network.addr());
    // Binding a socket without a port asks the routing table, and disturbs nobody.
    let asked = UdpSocket::bind((address, 0));
    if asked.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
        let family = if network.addr().is_ipv6() { "-6 " } else { "" };
        tracing::warn!(
            listener,
            "{} is not an address of this host; if nothing arrives for {binding}: ip {family}route add local {network} dev lo",
            address
        );
    }
}
