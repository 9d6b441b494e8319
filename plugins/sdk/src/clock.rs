//! Time, as the host sees it. A plugin that calls nothing here does not import the clock.

use std::time::Duration;

use crate::bindings::imports::clock as host;

/// The time since 1970-01-01T00:00:00Z. May step when the system's clock is set.
///
/// `let seconds = clock::now().as_secs();`
pub fn now() -> Duration {
    Duration::from_nanos(host::now())
}

/// The time since some fixed moment. Never goes back: use it for durations.
///
/// `let took = clock::monotonic() - started;`
pub fn monotonic() -> Duration {
    Duration::from_nanos(host::monotonic())
}
