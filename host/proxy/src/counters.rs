//! A listener in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::transport::clock;
use crate::upstream::cluster::Counter;

/// A listener in numbers, one share per worker.
pub struct ListenerCounters {
    shares: Box<[Share]>,
    /// When the log was last told of a connection that was turned away.
    told: AtomicU64,
}

impl ListenerCounters {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let shares = (0..workers.max(1)).map(|_| Share::default()).collect();
        Arc::new(ListenerCounters { shares, told: AtomicU64::default() })
    }

    pub(crate) fn share(&self, worker: usize) -> &Share {
        &self.shares[worker]
    }

    /// Once a second, whichever worker asks: a flood must not fill the log.
    pub(crate) fn may_tell(&self) -> bool {
        let now = clock::millis();
        let over = |told: u64| (told == 0 || now >= told + 1_000).then_some(now);
        self.told.fetch_update(Relaxed, Relaxed, over).is_ok()
    }

    /// Connections that each worker has accepted.
    pub fn accepted_by_worker(&self) -> Vec<u64> {
        self.shares.iter().map(|share| share.accepted.get()).collect()
    }

    /// The sum over all workers.
    pub fn totals(&self) -> ListenerTotals {
        let mut totals = ListenerTotals::default();
        for share in &self.shares {
            totals.accepted += share.accepted.get();
            totals.open += share.accepted.get().wrapping_sub(share.closed.get());
            totals.refused += share.refused.get();
            totals.handshakes_failed += share.handshakes_failed.get();
            totals.received += share.received.get();
            totals.sent += share.sent.get();
            for (sum, why) in totals.turned_away.iter_mut().zip(&share.turned_away) {
                *sum += why.get();
            }
            for (sum, class) in totals.responses.iter_mut().zip(&share.responses) {
                *sum += class.get();
            }
            for (sum, bucket) in totals.durations.iter_mut().zip(&share.durations) {
                *sum += bucket.get();
            }
            totals.duration_nanos += share.duration_nanos.get();
        }
        totals
    }
}

/// Why a connection was closed as soon as its source was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    SourceDenied,
    SourceConnections,
    SourceRate,
    ProxyHeader,
    ProxyNetwork,
}

/// The reasons in words, as metrics have them: in the order of [`ListenerTotals::turned_away`].
pub const TURNED_AWAY: [&str; 5] =
    ["source-denied", "source-connections", "source-rate", "proxy-header", "proxy-network"];

/// Upper bounds of the duration histogram, in milliseconds; one more bucket has no bound.
pub const DURATION_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// A listener in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Connections.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Connections closed at once, for the limit.
    pub refused: u64,
    /// TLS handshakes that failed.
    pub handshakes_failed: u64,
    /// Connections closed for their source or their PROXY header, by reason: see [`TURNED_AWAY`].
    pub turned_away: [u64; TURNED_AWAY.len()],
    /// Bytes of request bodies, or from clients of a TCP listener.
    pub received: u64,
    /// Bytes of response bodies, or to clients of a TCP listener.
    pub sent: u64,
    /// Exchanges by the first digit of their status, 1 to 5.
    pub responses: [u64; 5],
    /// Exchanges by duration, see [`DURATION_BUCKETS_MS`].
    pub durations: [u64; DURATION_BUCKETS_MS.len() + 1],
    /// Nanoseconds of all exchanges together.
    pub duration_nanos: u64,
}

/// One worker's share.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Share {
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    pub(crate) refused: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) turned_away: [Counter; TURNED_AWAY.len()],
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) responses: [Counter; 5],
    pub(crate) durations: [Counter; DURATION_BUCKETS_MS.len() + 1],
    pub(crate) duration_nanos: Counter,
}
