#![no_std]
#![forbid(unsafe_code)]
//! What the steering program and its loader share: the names, sizes and shapes of the maps. Everything is a word, two
//! words or an array of words, so that neither side needs a cast.
//!
//! A connection goes through the maps in this order:
//!
//! | map        | from                     | to                                                             |
//! |------------|--------------------------|----------------------------------------------------------------|
//! | `PORTS`    | port                     | nothing; the id of its one binding and that one's network; [`MANY`] |
//! | `NETWORKS` | index                    | mask and address of a network                                  |
//! | `BINDINGS` | port and address prefix  | the id of a binding, for ports that have many                  |
//! | `GROUPS`   | id                       | a range of slots; an empty one refuses                         |
//! | `STATS`    | id, and which            | how often steered, or dropped                                  |
//! | `SLOTS`    | base + hash % count      | index of a socket                                              |
//! | `SOCKETS`  | index                    | a listening socket; none refuses                               |
//!
//! Most ports have one binding, and a look into two arrays is a third of the way through a trie of ten thousand ports.

/// Of everything below. A process takes another's maps over only when both mean the same by them.
pub const LAYOUT: u32 = 1;

/// The program's name in the object.
pub const PROGRAM: &str = "odin_steer";

/// The maps' names in the object, in the order in which they are handed from process to process.
pub const MAPS: [&str; 7] = ["PORTS", "NETWORKS", "BINDINGS", "GROUPS", "SLOTS", "SOCKETS", "STATS"];

/// Entries of `PORTS`: all there are.
pub const MAX_PORTS: u32 = 65_536;
/// Entries of `NETWORKS`.
pub const MAX_NETWORKS: u32 = 65_536;
/// Entries of `BINDINGS`: one for every network of every port that has many.
pub const MAX_KEYS: u32 = 262_144;
/// Entries of `GROUPS`, hence bindings, with [`REFUSE`] and [`PASS`].
pub const MAX_IDS: u32 = 65_536;
/// Entries of `SLOTS`.
pub const MAX_SLOTS: u32 = 262_144;
/// Entries of `SOCKETS`.
pub const MAX_SOCKETS: u32 = 65_536;

/// The id whose group stays empty: what is bound to it is refused.
pub const REFUSE: u32 = 0;
/// The id of what is left to the sockets that are bound there, though a binding covers it.
pub const PASS: u32 = 1;

/// The port that stands for any port.
pub const ANY_PORT: u16 = 0;

/// A value of `PORTS`: no binding.
pub const NONE: u64 = 0;
/// A value of `PORTS`: ask `BINDINGS`.
pub const MANY: u64 = u64::MAX;

/// A value of `PORTS`: the one binding, by the index of its network, which is above 0, and its id.
#[inline(always)]
pub const fn one(network: u32, id: u32) -> u64 {
    (network as u64) << 32 | id as u64
}

/// The index of a network in a value of `PORTS`.
#[inline(always)]
pub const fn network(one: u64) -> u32 {
    (one >> 32) as u32
}

/// The id in a value of `PORTS`.
#[inline(always)]
pub const fn id(one: u64) -> u32 {
    one as u32
}

/// A value of `NETWORKS`: four words of the mask and four of the address, as they lie in memory.
pub type Network = [u32; 8];

/// Whether a network has an address.
#[inline(always)]
pub const fn has(network: &Network, address: [u32; 4]) -> bool {
    (address[0] & network[0]) ^ network[4]
        | (address[1] & network[1]) ^ network[5]
        | (address[2] & network[2]) ^ network[6]
        | (address[3] & network[3]) ^ network[7]
        == 0
}

/// TCP, as the kernel numbers it.
pub const TCP: u8 = 6;

/// Bits of a key that stand before the address and always count.
pub const KEY_BITS: u32 = 32;

/// The data of a key of `BINDINGS`: protocol, zero and port, then the address in the order of the network. IPv4 lies
/// in `::ffff:0:0/96`.
pub type Key = [u32; 5];

/// A key from its parts; `address` holds words as they lie in memory.
#[inline(always)]
pub const fn key(protocol: u8, port: u16, address: [u32; 4]) -> Key {
    let [high, low] = port.to_be_bytes();
    [u32::from_ne_bytes([protocol, 0, high, low]), address[0], address[1], address[2], address[3]]
}

/// The words of an IPv4 address given as it lies in memory.
#[inline(always)]
pub const fn mapped(address: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), address]
}

/// A value of `GROUPS`: slots from `base` on. One word, so that an update is seen whole or not at all.
#[inline(always)]
pub const fn group(base: u32, count: u32) -> u64 {
    (base as u64) << 32 | count as u64
}

/// The base of a group's slots.
#[inline(always)]
pub const fn base(group: u64) -> u32 {
    (group >> 32) as u32
}

/// The number of a group's slots.
#[inline(always)]
pub const fn count(group: u64) -> u32 {
    group as u32
}

/// Entries of `STATS`: two for each id.
pub const MAX_STATS: u32 = 2 * MAX_IDS;

/// Where `STATS` counts what went to a socket for an id, or was refused. An entry each: the verifier lets a process
/// without CAP_PERFMON add no number to a pointer that depends on the way the program took.
#[inline(always)]
pub const fn stat(id: u32, steered: bool) -> u32 {
    2 * id + !steered as u32
}

/// The name of the program's secret: a word that the loader chooses, so that no client can choose its worker.
pub const SECRET: &str = "SECRET";

/// A number that looks random, from what tells connections apart.
#[inline(always)]
pub const fn hash(secret: u32, remote: [u32; 4], remote_port: u32, local_port: u32) -> u32 {
    // The ends of murmur3: every bit of the input moves every bit of the outcome.
    let mut hash = mix(secret ^ remote[0] ^ remote[1].rotate_left(8) ^ remote[2].rotate_left(16) ^ remote[3]);
    hash = mix(hash ^ remote_port ^ local_port << 16);
    hash
}

#[inline(always)]
const fn mix(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The slot of a connection in a group that is not empty.
#[inline(always)]
pub const fn slot(group: u64, hash: u32) -> u32 {
    base(group).wrapping_add((hash as u64 * count(group) as u64 >> 32) as u32)
}
