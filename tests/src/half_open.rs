//! A client whose handshake stays under way for as long as the test likes: packets that the test writes itself, from an
//! address that no host has. Only in a network namespace of the test's own.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::ip;
use crate::wait::until;

/// Nobody's. Packets to it go out, so that the kernel does not answer for it.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 99, 99);
const SYN: u8 = 2;
const RST: u8 = 4;
const PUSH_ACK: u8 = 24;
/// `ETH_P_IP`, as a packet socket wants it, and `IPPROTO_RAW`.
const ALL_IPV4: i32 = 0x0800_u16.to_be() as i32;
const HEADER_INCLUDED: i32 = 255;

/// Lets the namespace send to the clients of this module.
pub fn prepare() {
    ip(&format!("route add {CLIENT}/32 dev lo"));
}

/// A client that has the server's answer to its SYN, and has not answered that yet.
pub struct HalfOpen {
    wire: Socket,
    out: Socket,
    client: SocketAddrV4,
    server: SocketAddrV4,
    /// What the server counts from.
    counts_from: u32,
}

impl HalfOpen {
    /// Sends a SYN and waits for the answer.
    pub async fn begin(port: u16, server: SocketAddrV4) -> HalfOpen {
        let wire = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ALL_IPV4))).expect("a packet socket");
        wire.set_nonblocking(true).expect("a socket can be non-blocking");
        let out = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(HEADER_INCLUDED))).expect("a raw socket");
        let mut this = HalfOpen { wire, out, client: SocketAddrV4::new(CLIENT, port), server, counts_from: 0 };
        this.send(0, 0, SYN, b"");
        let (flags, counts_from, _) = until("an answer to the SYN", async || this.received()).await;
        assert_eq!(flags & (SYN | RST), SYN, "the server refused");
        this.counts_from = counts_from;
        this
    }

    /// Completes the handshake, with a request right behind it.
    pub fn complete(&self, request: &[u8]) {
        self.send(1, self.counts_from.wrapping_add(1), PUSH_ACK, request);
    }

    /// What comes back first; none when that is a RST.
    pub async fn answer(&self) -> Option<Vec<u8>> {
        until("an answer to the request", async || {
            let (flags, _, data) = self.received()?;
            match flags & RST {
                0 if data.is_empty() => None,
                0 => Some(Some(data)),
                _ => Some(None),
            }
        })
        .await
    }

    /// The next segment of the server for this client that has come already: flags, number and bytes.
    fn received(&self) -> Option<(u8, u32, Vec<u8>)> {
        let mut packet = [0; 2048];
        while let Ok(length) = (&self.wire).read(&mut packet) {
            let packet = &packet[..length];
            let (head, tcp) = packet.split_at(usize::from(packet[0] & 15) * 4);
            let to_me =
                head[9] == 6 && head[16..20] == CLIENT.octets() && tcp[2..4] == self.client.port().to_be_bytes();
            if to_me {
                let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                return Some((tcp[13], sequence, tcp[usize::from(tcp[12] >> 4) * 4..].to_vec()));
            }
        }
        None
    }

    fn send(&self, sequence: u32, acknowledged: u32, flags: u8, data: &[u8]) {
        let (from, to) = (self.client.ip().octets(), self.server.ip().octets());
        let mut tcp = [self.client.port().to_be_bytes(), self.server.port().to_be_bytes()].concat();
        tcp.extend([sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat());
        // Five words of header, a window, and room for the sum.
        tcp.extend([5 << 4, flags, 0xff, 0, 0, 0, 0, 0]);
        tcp.extend(data);
        let length = u16::try_from(tcp.len()).expect("a short segment").to_be_bytes();
        let sum = checksum(&[&from[..], &to, &[0, 6], &length, &tcp].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        // The kernel fills in the length, the number and the sum.
        let head = [&[5 | 4 << 4, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0][..], &from, &to].concat();
        self.out.send_to(&[head, tcp].concat(), &self.server.into()).expect("a packet is sent");
    }
}

/// The Internet's (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
