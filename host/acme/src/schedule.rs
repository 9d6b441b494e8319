//! When things are done: a certificate is renewed before a third of its life is left, and what fails is tried again, less and
//! less often.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// The part of its life after which a certificate is renewed, at the earliest.
const EARLIEST: f64 = 0.60;
/// And how much later at most: not all that were made at one time are renewed at one time.
const SPREAD: f64 = 0.06;
/// An authority that asks for more time than this is not believed.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// After the first failure. Each further one doubles it.
    pub first_retry: Duration,
    /// And no longer than this.
    pub longest_retry: Duration,
    /// How long one certificate may take.
    pub order: Duration,
    /// How often a process that is not the owner of a folder asks whether it may be.
    pub ask_owner: Duration,
    /// The clock and the folder are looked at after so long, whatever is due.
    pub look: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            first_retry: Duration::from_secs(60),
            longest_retry: Duration::from_secs(3600),
            order: Duration::from_secs(180),
            ask_owner: Duration::from_secs(5),
            look: Duration::from_secs(600),
        }
    }
}

impl Schedule {
    /// How long to wait after so many failures in a row, or as long as the authority asks for if that is longer. `seed` makes
    /// it up to a fifth more or less: who failed at one time does not come back at one time.
    pub(crate) fn retry_in(&self, failures: u32, asked: Option<Duration>, seed: &str) -> Duration {
        let doubled = self.first_retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let part = 0.8 + 0.4 * part(&(seed, failures));
        let wait = doubled.min(self.longest_retry).mul_f64(part);
        wait.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

/// When a certificate of this content and validity, in seconds since 1970, is renewed. The same on every machine.
pub(crate) fn renew_at(content: &[u8], (not_before, not_after): (i64, i64)) -> i64 {
    let life = (not_after - not_before) as f64;
    not_before + (life * (EARLIEST + SPREAD * part(&content))) as i64
}

/// From 0 to 1, by what is hashed.
fn part(of: &impl std::hash::Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_before_a_third_of_its_life_is_left_and_not_all_at_once() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..1000_u32 {
            for (from, life) in [(0, 90 * 86_400), (1_700_000_000, 6 * 86_400), (1_700_000_000, 60)] {
                let at = renew_at(&number.to_be_bytes(), (from, from + life));
                assert!(at >= from + life * 59 / 100 && at < from + life * 2 / 3, "{at} of {life}");
                seen.insert(at);
            }
        }
        assert!(seen.len() > 900, "{}", seen.len());
    }

    #[test]
    fn what_fails_is_tried_less_and_less_often_and_as_late_as_the_authority_asks() {
        let schedule = Schedule::default();
        for (failures, around) in [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (100, 3600), (u32::MAX, 3600)] {
            let wait = schedule.retry_in(failures, None, "a.test").as_secs();
            assert!(wait >= around * 8 / 10 && wait <= around * 12 / 10, "{failures}: {wait}");
        }
        let asked = |seconds| schedule.retry_in(1, Some(Duration::from_secs(seconds)), "a.test").as_secs();
        assert_eq!(asked(7200), 7200);
        assert!(asked(1) >= 48);
        assert_eq!(asked(10_000_000), 86_400);
    }
}
