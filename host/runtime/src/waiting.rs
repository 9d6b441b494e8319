//! How many calls of plugins that import `outbound` are open on one worker, and how many of their instances are kept
//! warm. Both are capped, over all plugins, so that the pool always has room.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::Cause;

/// Instances that one plugin keeps warm on one worker.
pub(crate) const WARM_PER_PLUGIN: usize = 16;
/// Instances that all of them keep warm on one worker.
pub(crate) const WARM_PER_WORKER: usize = 64;

/// See the module. Only its worker writes it, but for what other threads drop.
#[repr(align(128))]
pub(crate) struct Waiting {
    limit: usize,
    open: AtomicUsize,
    warm: AtomicUsize,
}

/// A call is open for as long as this lives.
pub(crate) struct Open<'a>(&'a Waiting);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Waiting {
    pub(crate) fn new(limit: usize) -> Self {
        Waiting { limit, open: AtomicUsize::new(0), warm: AtomicUsize::new(0) }
    }

    /// Opens a call, unless there are too many.
    pub(crate) fn open(&self) -> Result<Open<'_>, Cause> {
        if self.open.fetch_add(1, Relaxed) < self.limit {
            return Ok(Open(self));
        }
        self.open.fetch_sub(1, Relaxed);
        Err(Cause::Instantiate(format!("too many calls wait: {} on this worker", self.limit)))
    }

    /// Whether one more instance may be kept warm; then it counts until [`Waiting::cooled`].
    pub(crate) fn warmed(&self) -> bool {
        if self.warm.fetch_add(1, Relaxed) < WARM_PER_WORKER {
            return true;
        }
        self.cooled(1);
        false
    }

    /// So many instances are no longer kept.
    pub(crate) fn cooled(&self, instances: usize) {
        self.warm.fetch_sub(instances, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_warm_instances_are_capped() {
        let waiting = Waiting::new(2);
        let (one, _two) = (waiting.open().unwrap(), waiting.open().unwrap());
        let refused = waiting.open().err().unwrap();
        assert_eq!(refused, Cause::Instantiate("too many calls wait: 2 on this worker".to_owned()));
        drop(one);
        assert!(waiting.open().is_ok());

        assert!((0..WARM_PER_WORKER).all(|_| waiting.warmed()));
        assert!(!waiting.warmed());
        waiting.cooled(1);
        assert!(waiting.warmed());
    }
}
