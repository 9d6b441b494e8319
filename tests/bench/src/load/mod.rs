//! What asks the proxies: wrk, h2load, and clients of our own for TCP, for large responses, for exchanges that wait and for
//! many addresses.
//!
//! A load either finishes without one failed operation or is an error; it must never report a figure for half a run.

pub(crate) mod download;
pub(crate) mod h2load;
pub(crate) mod response;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod visits;
pub(crate) mod waiting;
pub(crate) mod wrk;

use anyhow::{Context, Result};

/// What a finished load did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Requests, round trips, bytes or open exchanges.
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    /// Microseconds; none for bulk.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Bytes of memory that the proxy grew by meanwhile, where that is what is measured.
    pub(crate) grown: Option<u64>,
}

/// The body of a `PUT`.
pub(crate) const BODY: &str = r#"{"hello":"hi"}"#;
pub(crate) const BODY_TYPE: &str = "content-type: application/json";

/// Request fields beside Host: with it, ten, of the kind and size that browsers send.
const FIELDS: [&str; 9] = [
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.5",
    "accept-encoding: gzip, deflate, br, zstd",
    "cookie: session=4f1c2ab97d3e4f60a8b2; theme=dark",
    "referer: http://bench.example/catalogue/items?page=2",
    "cache-control: no-cache",
    "dnt: 1",
    "x-trace: 9b1d3c5e7f",
];

/// The value of `name=` among words, as a number.
fn number(line: &str, name: &str) -> Result<f64> {
    line.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .with_context(|| format!("no {name} in `{line}`"))
}
