//! Steering: what the BPF program costs a new connection, how evenly it shares them out, and how long it takes a proxy to get
//! ten thousand ports and to give them up.
//!
//! What a steered connection costs the whole proxy is measured like any other load (`run.rs`).

mod admin;
pub(crate) mod cost;
mod counting;
pub(crate) mod ports;
pub(crate) mod table;

pub(crate) use counting::Counting;

/// The ports that are many: below all that the sandbox gives away or that `connect` takes.
const PORTS: std::ops::Range<u16> = 2000..12_000;

/// Each of them, as an address of its own.
fn many() -> Vec<String> {
    PORTS.map(|port| format!("127.0.0.1:{port}")).collect()
}
