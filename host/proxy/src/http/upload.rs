//! What has become of a request's body so far, and whether it comes fast enough: a client that sends a byte a minute must
//! not hold an upstream for ever.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

/// How long a body may come as slowly as it likes.
const GRACE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Default)]
pub(crate) struct Upload {
    /// Bytes that went through.
    pub(crate) bytes: Cell<u64>,
    /// All of it has been read.
    pub(crate) ended: Cell<bool>,
    /// Why it broke off: whoever sends it upstream may only say that it did.
    pub(crate) failure: RefCell<Option<Error>>,
    /// Bytes that must come in a second, see `limits.body-rate`; zero for any.
    rate: u64,
    /// Time in which the client was waited for; that in which nobody asked for more does not count.
    waited: Cell<Duration>,
    /// Since when the client is waited for.
    since: Cell<Option<Instant>>,
}

impl Upload {
    /// A body that must come at this rate, in bytes a second.
    pub(crate) fn at_least(rate: u64) -> Self {
        Upload { rate, ..Upload::default() }
    }

    /// So many bytes went through.
    pub(crate) fn of(bytes: u64) -> Self {
        Upload { bytes: bytes.into(), ..Upload::default() }
    }

    /// A piece of so many bytes went through.
    pub(crate) fn count(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// The client is waited for from now on.
    pub(crate) fn waits(&self) {
        if self.rate > 0 && self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
        }
    }

    /// Something came. An error when it all comes too slowly.
    pub(crate) fn came(&self) -> Result<(), Error> {
        let Some(since) = self.since.take() else { return Ok(()) };
        self.waited.set(self.waited.get() + since.elapsed());
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        let counted = self.waited.get().saturating_sub(GRACE);
        if self.bytes.get() as f64 >= self.rate as f64 * counted.as_secs_f64() {
            return Ok(());
        }
        Err(Error::new(
            Kind::BodyTimeout,
            format!("the request's body comes at less than {} bytes a second", self.rate),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(bytes: u64, waited: f64) -> bool {
        let upload = Upload::at_least(240);
        upload.count(bytes);
        upload.waited.set(Duration::from_secs_f64(waited));
        upload.check().is_err()
    }

    #[test]
    fn after_a_grace_a_body_must_keep_up() {
        assert!(!slow(0, 20.0));
        assert!(slow(0, 20.1));
        assert!(slow(21, 21.0));
        assert!(!slow(240, 21.0));
        assert!(!slow(2_400, 30.0));
        assert!(slow(2_399, 30.0));
    }
}
