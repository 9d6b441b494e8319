//! Milliseconds since the process began: a clock that fits an atomic.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Milliseconds since the first call, plus one: never zero.
pub(crate) fn millis() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}
