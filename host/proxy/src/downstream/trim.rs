//! When a worker gives the memory that it has freed back to the system. The allocator alone would keep it until it is
//! needed again.

use std::cell::Cell;

/// What fewer connections have used is not worth giving back.
const FEW_CONNECTIONS: usize = 16;
/// What fewer exchanges have used is not worth giving back either: each has some kilobytes while it waits for the head of
/// its response.
const FEW_EXCHANGES: usize = 256;
/// Memory is given back so many ticks after most clients have left: at once, and when what was kept for them, connections to
/// upstreams above all, has been closed as well.
const TRIM_AFTER: [u32; 6] = [0, 1, 2, 3, 10, 60];

/// See the module.
pub(crate) struct Trim {
    /// The most connections that were open since they became far fewer.
    most_open: Cell<usize>,
    /// HTTP/2 exchanges that wait for the head of their response.
    waiting: Cell<usize>,
    /// The most of them since the last tick.
    lately: Cell<usize>,
    /// The most of them since they became far fewer.
    most_waiting: Cell<usize>,
    /// Ticks since either became far fewer.
    since: Cell<u32>,
    give_back: fn(),
}

impl Trim {
    pub(crate) fn new(give_back: fn()) -> Self {
        Trim {
            most_open: Cell::new(0),
            waiting: Cell::new(0),
            lately: Cell::new(0),
            most_waiting: Cell::new(0),
            since: Cell::new(u32::MAX),
            give_back,
        }
    }

    /// One more connection, which makes so many.
    pub(crate) fn connected(&self, open: usize) {
        reach(&self.most_open, open);
    }

    /// An exchange begins to wait.
    pub(crate) fn waits(&self) {
        self.waiting.set(self.waiting.get() + 1);
        reach(&self.lately, self.waiting.get());
    }

    /// An exchange waits no more.
    pub(crate) fn waits_no_more(&self) {
        self.waiting.set(self.waiting.get() - 1);
    }

    /// Gives memory back if it is time for that. For the worker's tick, with the connections that are open.
    pub(crate) fn tick(&self, open: usize) {
        // Exchanges come and go many times a second: only when there were few all the time since the last tick, a wave is
        // over. Memory that the next moment needs would be given back otherwise.
        let lately = self.lately.replace(self.waiting.get());
        reach(&self.most_waiting, lately);
        let left = has_fallen(&self.most_open, FEW_CONNECTIONS, open);
        if has_fallen(&self.most_waiting, FEW_EXCHANGES, lately) || left {
            self.since.set(0);
        }
        let since = self.since.get();
        if TRIM_AFTER.contains(&since) {
            (self.give_back)();
        }
        self.since.set(since.saturating_add(1));
    }
}

fn reach(most: &Cell<usize>, now: usize) {
    most.set(most.get().max(now));
}

/// Whether so many are left that most of the memory is not needed; if so, `most` begins anew.
fn has_fallen(most: &Cell<usize>, few: usize, now: usize) -> bool {
    let fallen = most.get() >= few && now <= most.get() / 2;
    if fallen {
        most.set(now);
    }
    fallen
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static GIVEN_BACK: Cell<usize> = const { Cell::new(0) };
    }

    fn trim() -> Trim {
        GIVEN_BACK.set(0);
        Trim::new(|| GIVEN_BACK.set(GIVEN_BACK.get() + 1))
    }

    #[test]
    fn memory_is_given_back_when_most_connections_have_left() {
        let trim = trim();
        trim.connected(FEW_CONNECTIONS);
        trim.tick(FEW_CONNECTIONS);
        assert_eq!(GIVEN_BACK.get(), 0);
        for _ in 0..100 {
            trim.tick(FEW_CONNECTIONS / 2);
        }
        assert_eq!(GIVEN_BACK.get(), TRIM_AFTER.len());
    }

    #[test]
    fn memory_is_given_back_after_a_wave_of_exchanges_and_not_between_waves() {
        let trim = trim();
        for _ in 0..10 {
            // None waits at the tick, and many have waited since the last one.
            (0..FEW_EXCHANGES).for_each(|_| trim.waits());
            (0..FEW_EXCHANGES).for_each(|_| trim.waits_no_more());
            trim.tick(1);
        }
        assert_eq!(GIVEN_BACK.get(), 0);
        trim.tick(1);
        assert_eq!(GIVEN_BACK.get(), 1);
    }
}
