//! Random numbers from the system's generator, fit for keys and tokens. Granted by `grant = ["random"]`.
//!
//! ```
//! # use odin_sdk::random;
//! let token = random::bytes(16);
//! let dice = random::below(6) + 1;
//! # assert!(token.len() == 16 && (1..=6).contains(&dice));
//! ```

use crate::host::random as host;

/// A uniformly random number.
pub fn next() -> u64 {
    host::next()
}

/// A number below `limit`, uniform up to a bias of `limit` in 2^64; zero when `limit` is.
pub fn below(limit: u64) -> u64 {
    ((u128::from(next()) * u128::from(limit)) >> 64) as u64
}

/// So many random bytes; over 64 KiB traps.
pub fn bytes(count: u32) -> Vec<u8> {
    host::bytes(count)
}
