//! Time, as the host sees it. Granted by `grant = ["clock"]`; a plugin that calls nothing here does not import it.
//!
//! ```
//! # use odin_sdk::clock;
//! # odin_sdk::testing::reset();
//! let started = clock::monotonic();
//! let took = clock::monotonic() - started;
//! assert!(took.as_secs() < 1);
//! ```

use std::time::Duration;

use crate::host::clock as host;

/// The time since 1970-01-01T00:00:00Z. May step when the system's clock is set.
pub fn now() -> Duration {
    Duration::from_nanos(host::now())
}

/// The time since some fixed moment. Never goes back: use it for durations.
pub fn monotonic() -> Duration {
    Duration::from_nanos(host::monotonic())
}
