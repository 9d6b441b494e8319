//! How many calls are open on one worker that wait (those of plugins that import `outbound`) or have given way, and
//! how many instances are kept warm for them. Both are capped, over all plugins, so that the pool always has room; and no
//! plugin has more than half of the calls.

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
pub(crate) struct Open<'a>(&'a Waiting, &'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Waiting {
    pub(crate) fn new(limit: usize) -> Self {
        Waiting { limit, open: AtomicUsize::new(0), warm: AtomicUsize::new(0) }
    }

    /// Opens a call of the plugin of which `own` counts the open ones, unless there are too many.
    pub(crate) fn open<'a>(&'a self, own: &'a AtomicUsize) -> Result<Open<'a>, Cause> {
        self.enter(own).map(|()| Open(self, own))
    }

    /// One call more is open, until [`Waiting::leave`]; unless there are too many.
    pub(crate) fn enter(&self, own: &AtomicUsize) -> Result<(), Cause> {
        let all = self.open.fetch_add(1, Relaxed);
        let too_many = match own.fetch_add(1, Relaxed) {
            mine if mine >= self.share() => Cause::TooManyCalls { limit: self.share(), own: true },
            _ if all >= self.limit => Cause::TooManyCalls { limit: self.limit, own: false },
            _ => return Ok(()),
        };
        self.leave(own);
        Err(too_many)
    }

    pub(crate) fn leave(&self, own: &AtomicUsize) {
        self.open.fetch_sub(1, Relaxed);
        own.fetch_sub(1, Relaxed);
    }

    /// How many calls of one plugin may be open.
    pub(crate) fn share(&self) -> usize {
        self.limit.div_ceil(2)
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
        let waiting = Waiting::new(3);
        let (greedy, other) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (one, _two) = (waiting.open(&greedy).unwrap(), waiting.open(&greedy).unwrap());
        assert_eq!(waiting.open(&greedy).err(), Some(Cause::TooManyCalls { limit: 2, own: true }));
        let _three = waiting.open(&other).unwrap();
        assert_eq!(waiting.open(&other).err(), Some(Cause::TooManyCalls { limit: 3, own: false }));
        drop(one);
        assert!(waiting.open(&other).is_ok());
        assert_eq!((greedy.load(Relaxed), other.load(Relaxed)), (1, 1));

        assert!((0..WARM_PER_WORKER).all(|_| waiting.warmed()));
        assert!(!waiting.warmed());
        waiting.cooled(1);
        assert!(waiting.warmed());
    }
}
