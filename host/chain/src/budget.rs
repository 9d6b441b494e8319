//! What the plugins of one exchange may compute, all hooks together: a store of CPU time that is full when the exchange
//! begins, and fills up again as the exchange lasts and as bytes of its bodies go by. So a long download or a stream of
//! events is served, and a client that makes a plugin compute over and over is not.

use std::time::{Duration, Instant};

/// What an exchange has unless it is told otherwise.
pub const CPU_BUDGET: Duration = Duration::from_millis(50);
/// A byte that a hook is shown adds so many nanoseconds: more than it takes to hash it.
const NANOS_PER_BYTE: u64 = 15;

/// CPU time of one exchange or connection: see the module.
#[derive(Clone, Debug)]
pub struct CpuBudget {
    all: Store,
    /// Of the plugins that have a budget of their own, by an address that is theirs for as long as the exchange lasts.
    own: Vec<(usize, Store)>,
}

/// One store of time.
#[derive(Clone, Debug)]
struct Store {
    /// Nanoseconds.
    whole: u64,
    left: u64,
    /// When time was last added for the time that went by.
    filled: Instant,
}

/// Which budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The exchange's: `cpu-budget` of `[limits]`.
    Exchange,
    /// The plugin's own: `cpu-budget` of its section.
    Plugin,
}

impl CpuBudget {
    /// Full, for an exchange that began `now`.
    pub fn new(whole: Duration, now: Instant) -> Self {
        CpuBudget { all: Store::new(whole, now), own: Vec::new() }
    }

    /// The whole of the exchange's.
    pub fn whole(&self) -> Duration {
        Duration::from_nanos(self.all.whole)
    }

    /// What a call may compute that has `most` nanoseconds at most, of a plugin with this budget of its own; and whose
    /// budget it is that bounds it, if one does.
    #[inline]
    pub fn grant(&mut self, most: u64, own: Option<(usize, Duration)>) -> (u64, Option<Whose>) {
        if own.is_none() && self.all.left >= most {
            return (most, None);
        }
        self.bounded(most, own, Instant::now())
    }

    #[cold]
    fn bounded(&mut self, most: u64, own: Option<(usize, Duration)>, now: Instant) -> (u64, Option<Whose>) {
        let mut grant = (most, None);
        if let Some((plugin, whole)) = own {
            grant = least(grant, self.own(plugin, whole).fill(now, most), Whose::Plugin);
        }
        least(grant, self.all.fill(now, most), Whose::Exchange)
    }

    /// A call of the plugin computed for so many nanoseconds.
    #[inline]
    pub fn spend(&mut self, nanos: u64, own: Option<(usize, Duration)>) {
        self.all.left = self.all.left.saturating_sub(nanos);
        if let Some((plugin, whole)) = own {
            let store = self.own(plugin, whole);
            store.left = store.left.saturating_sub(nanos);
        }
    }

    /// So many bytes are shown to a hook of the plugin.
    pub fn shown(&mut self, bytes: usize, own: Option<(usize, Duration)>) {
        self.all.add(bytes as u64 * NANOS_PER_BYTE);
        if let Some((plugin, whole)) = own {
            self.own(plugin, whole).add(bytes as u64 * NANOS_PER_BYTE);
        }
    }

    fn own(&mut self, plugin: usize, whole: Duration) -> &mut Store {
        let at = self.own.iter().position(|(other, _)| *other == plugin).unwrap_or_else(|| {
            self.own.push((plugin, Store::new(whole, self.all.filled)));
            self.own.len() - 1
        });
        &mut self.own[at].1
    }
}

fn least(grant: (u64, Option<Whose>), left: u64, whose: Whose) -> (u64, Option<Whose>) {
    if left < grant.0 { (left, Some(whose)) } else { grant }
}

impl Store {
    fn new(whole: Duration, now: Instant) -> Self {
        let whole = nanos(whole);
        Store { whole, left: whole, filled: now }
    }

    /// Adds what belongs to the time since, when less than `wanted` is left: the whole for each second.
    fn fill(&mut self, now: Instant, wanted: u64) -> u64 {
        if self.left < wanted {
            let since = nanos(now.saturating_duration_since(self.filled)).min(1_000_000_000);
            self.filled = now;
            self.add(u64::try_from(u128::from(self.whole) * u128::from(since) / 1_000_000_000).unwrap_or(u64::MAX));
        }
        self.left
    }

    fn add(&mut self, nanos: u64) {
        self.left = self.left.saturating_add(nanos).min(self.whole);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn budget() -> (CpuBudget, Instant) {
        let now = Instant::now();
        (CpuBudget::new(Duration::from_millis(50), now), now)
    }

    #[test]
    fn calls_share_what_there_is() {
        let (mut budget, now) = budget();
        for _ in 0..4 {
            assert_eq!(budget.bounded(10 * MS, None, now), (10 * MS, None));
            budget.spend(11 * MS, None);
        }
        assert_eq!(budget.bounded(10 * MS, None, now), (6 * MS, Some(Whose::Exchange)));
        budget.spend(7 * MS, None);
        assert_eq!(budget.bounded(10 * MS, None, now), (0, Some(Whose::Exchange)));
    }

    #[test]
    fn time_and_bytes_fill_it_up_to_the_whole() {
        let (mut budget, now) = budget();
        budget.spend(50 * MS, None);
        let later = |ms| now + Duration::from_millis(ms);
        assert_eq!(budget.bounded(10 * MS, None, later(20)), (MS, Some(Whose::Exchange)));
        assert_eq!(budget.bounded(10 * MS, None, later(20)), (MS, Some(Whose::Exchange)), "once only");
        budget.shown(1, None);
        assert_eq!(budget.bounded(10 * MS, None, later(20)).0, MS + 15, "one byte is no licence to compute");
        assert_eq!(budget.bounded(100 * MS, None, later(3_600_000)), (50 * MS, Some(Whose::Exchange)));
        budget.spend(50 * MS, None);
        budget.shown(1 << 20, None);
        assert_eq!(budget.bounded(100 * MS, None, later(3_600_000)).0, (1 << 20) * 15);
    }

    #[test]
    fn a_plugin_may_have_less_than_the_exchange() {
        let (mut budget, now) = budget();
        let own = |plugin| Some((plugin, Duration::from_millis(8)));
        assert_eq!(budget.bounded(10 * MS, own(1), now), (8 * MS, Some(Whose::Plugin)));
        budget.spend(8 * MS, own(1));
        assert_eq!(budget.bounded(10 * MS, own(1), now), (0, Some(Whose::Plugin)));
        assert_eq!(budget.bounded(10 * MS, own(2), now), (8 * MS, Some(Whose::Plugin)));
        assert_eq!(budget.bounded(10 * MS, None, now), (10 * MS, None));
    }
}
