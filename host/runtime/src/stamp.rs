//! The time that calls take, in nanoseconds. Two readings belong to every call, and the system's clock would be a fifth
//! of the cheapest one: this reads the processor's own counter where there is a steady one.
//! Must never decide anything: a deadline or a pause goes by the system's clock.

use std::sync::LazyLock;

use quanta::Clock;

/// Made once: it compares the processor's counter with the system's clock for some milliseconds.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

/// A moment.
#[derive(Clone, Copy)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn now() -> Self {
        Stamp(CLOCK.raw())
    }

    /// Nanoseconds since.
    pub(crate) fn elapsed(self) -> u64 {
        CLOCK.delta_as_nanos(self.0, CLOCK.raw())
    }
}

/// Has the clock made before a call needs it.
pub(crate) fn prepare() {
    LazyLock::force(&CLOCK);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_agrees_with_the_systems_clock() {
        prepare();
        let (start, stamp) = (Instant::now(), Stamp::now());
        while start.elapsed().as_millis() < 20 {
            std::hint::spin_loop();
        }
        let measured = stamp.elapsed();
        assert!((15_000_000..).contains(&measured), "{measured}");
        assert!(u128::from(measured) < start.elapsed().as_nanos() * 5 / 4, "{measured}");
    }
}
