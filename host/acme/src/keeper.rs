//! Which name is due: one without a certificate now, one with it when that is to be renewed, one that failed after a while.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::authority::{Authority, Directory, Failed};
use crate::leaf::{self, now};
use crate::schedule::{Schedule, renew_at};
use crate::store::{Owner, Store};

/// What has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another process asks for the certificates of this folder.
    NotOwner,
    /// A certificate is asked for.
    Asking {
        /// For this name.
        name: &'a str,
    },
    /// It has come.
    Got {
        /// For this name.
        name: &'a str,
        /// The last second of its validity, since 1970.
        until: i64,
    },
    /// It has not. What is there goes on to be served.
    Failed {
        /// For this name.
        name: &'a str,
        /// The step, and what the authority says.
        why: &'a str,
        /// When it is tried again.
        again_in: Duration,
    },
    /// The folder cannot be used.
    Folder {
        /// Its name, and the error.
        why: &'a str,
    },
}

/// Asks for the certificates of `names` and keeps them fresh, for as long as it is polled; all go through the same steps one
/// after the other. Dropped, it lets the folder go. Needs a runtime of tokio.
pub async fn keep(
    directory: &Directory,
    store: &Store,
    names: &[String],
    schedule: Schedule,
    told: impl Fn(Event<'_>),
) -> Infallible {
    keep_by(directory, store, names, schedule, told).await
}

/// A name, and its failures since the last success.
struct Kept<'a> {
    name: &'a str,
    failures: u32,
    again: Option<Instant>,
}

async fn keep_by(
    authority: &impl Authority,
    store: &Store,
    names: &[String],
    schedule: Schedule,
    told: impl Fn(Event<'_>),
) -> Infallible {
    let _owner = become_owner(store, schedule, &told).await;
    let mut all: Vec<_> = names.iter().map(|name| Kept { name, failures: 0, again: None }).collect();
    loop {
        let next = all.iter_mut().map(|kept| (due(kept, store), kept)).min_by_key(|(due, _)| *due);
        let Some((at, kept)) = next else { std::future::pending().await };
        if at > Instant::now() {
            sleep_until(at.min(Instant::now() + schedule.look)).await;
            continue;
        }
        told(Event::Asking { name: kept.name });
        let failed = match obtain(authority, store, kept.name, schedule).await {
            Ok(until) => {
                (kept.failures, kept.again) = (0, None);
                told(Event::Got { name: kept.name, until });
                continue;
            }
            Err(failed) => failed,
        };
        kept.failures += 1;
        let again_in = schedule.retry_in(kept.failures, failed.after, kept.name);
        kept.again = Some(Instant::now() + again_in);
        told(Event::Failed { name: kept.name, why: &failed.why, again_in });
    }
}

/// Waits until no other process asks for certificates here.
async fn become_owner(store: &Store, schedule: Schedule, told: &impl Fn(Event<'_>)) -> Owner {
    let mut said = false;
    loop {
        match store.own() {
            Ok(Some(owner)) => return owner,
            Ok(None) if !std::mem::replace(&mut said, true) => told(Event::NotOwner),
            Ok(None) => {}
            Err(error) if !std::mem::replace(&mut said, true) => told(Event::Folder { why: &error.to_string() }),
            Err(_) => {}
        }
        sleep(schedule.ask_owner).await;
    }
}

/// When a name needs a certificate.
fn due(kept: &Kept<'_>, store: &Store) -> Instant {
    if let Some(again) = kept.again {
        return again;
    }
    let Ok(pem) = store.read_certificate(kept.name) else { return Instant::now() };
    // What cannot be used is not there.
    let Ok(validity) = leaf::validity(&pem, kept.name) else { return Instant::now() };
    let rest = renew_at(pem.as_bytes(), validity) - now();
    Instant::now() + Duration::from_secs(u64::try_from(rest).unwrap_or(0))
}

/// One certificate; it is in its file when this is over. Answers its last second.
async fn obtain(authority: &impl Authority, store: &Store, name: &str, schedule: Schedule) -> Result<i64, Failed> {
    let obtained = timeout(schedule.order, authority.obtain(name, store)).await;
    let pem = obtained.unwrap_or_else(|_| Err(format!("it is not done after {:?}", schedule.order).into()))?;
    let (_, until) = leaf::validity(&pem, name)?;
    store.write_certificate(name, &pem).map_err(|error| format!("it cannot be kept: {error}"))?;
    Ok(until)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::cell::RefCell;

    use tempfile::TempDir;

    use super::*;
    use crate::leaf::tests::made;

    /// Fails until a moment, and notes when it is asked.
    struct Broken {
        until: Instant,
        asked: RefCell<Vec<(String, Instant)>>,
    }

    impl Authority for Broken {
        async fn obtain(&self, name: &str, _: &Store) -> Result<String, Failed> {
            self.asked.borrow_mut().push((name.to_owned(), Instant::now()));
            if name == "stalls.test" {
                std::future::pending::<()>().await;
            }
            match Instant::now() < self.until {
                true => Err("the directory: 503".to_owned().into()),
                false => Ok(made(name, 0, 90 * 86_400)),
            }
        }
    }

    fn store() -> (TempDir, Store) {
        let state = TempDir::new().unwrap();
        let store = Store::new(state.path(), "https://acme.test/dir");
        store.prepare().unwrap();
        (state, store)
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_fails_for_an_hour_is_asked_less_and_less_and_the_old_certificate_stays() {
        let (_state, store) = store();
        // Of its life 80 % are over.
        let old = made("old.test", 80, 100);
        store.write_certificate("old.test", &old).unwrap();
        let begun = Instant::now();
        let hour = Duration::from_secs(3600);
        let authority = Broken { until: begun + hour, asked: RefCell::default() };
        let (names, got) = (["new.test".to_owned(), "old.test".to_owned()], RefCell::new(Vec::new()));
        let told = |event: Event<'_>| {
            if let Event::Got { name, .. } = event {
                got.borrow_mut().push((name.to_owned(), Instant::now()));
            }
        };
        let keeping = keep_by(&authority, &store, &names, Schedule::default(), told);
        let _ = timeout(hour, keeping).await;
        assert_eq!(store.read_certificate("old.test").unwrap(), old);
        assert!(store.read_certificate("new.test").is_err() && got.borrow().is_empty());
        let asked: Vec<_> =
            authority.asked.borrow().iter().filter(|(name, _)| name == "new.test").map(|(_, at)| *at).collect();
        assert!((5..=8).contains(&asked.len()), "{}", asked.len());
        for three in asked.windows(3) {
            assert!(three[2] - three[1] > three[1] - three[0], "{asked:?}");
        }
        // Restarted, and then there it is at the first attempt.
        let keeping = keep_by(&authority, &store, &names, Schedule::default(), told);
        let _ = timeout(hour * 24, keeping).await;
        assert_eq!(got.borrow().len(), 2, "each once: nothing is renewed before its time");
        assert_ne!(store.read_certificate("old.test").unwrap(), old);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_stalls_does_not_hold_up_the_others_for_ever() {
        let (_state, store) = store();
        let authority = Broken { until: Instant::now(), asked: RefCell::default() };
        let names = ["stalls.test".to_owned(), "good.test".to_owned()];
        let keeping = keep_by(&authority, &store, &names, Schedule::default(), |_| {});
        let _ = timeout(Duration::from_secs(200), keeping).await;
        assert!(store.read_certificate("good.test").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_asks_and_the_next_one_goes_on() {
        let (_state, store) = store();
        let authority = Broken { until: Instant::now(), asked: RefCell::default() };
        let names = ["a.test".to_owned()];
        let mut first = Box::pin(keep_by(&authority, &store, &names, Schedule::default(), |_| {}));
        let _ = timeout(Duration::from_secs(1), &mut first).await;
        let waits = RefCell::new(0);
        let told = |event: Event<'_>| *waits.borrow_mut() += u32::from(matches!(event, Event::NotOwner));
        let more = ["b.test".to_owned()];
        let mut second = Box::pin(keep_by(&authority, &store, &more, Schedule::default(), told));
        let _ = timeout(Duration::from_secs(60), &mut second).await;
        assert_eq!((*waits.borrow(), authority.asked.borrow().len()), (1, 1));
        drop(first);
        let _ = timeout(Duration::from_secs(60), &mut second).await;
        assert_eq!(authority.asked.borrow().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_cannot_be_used_is_asked_for_again() {
        let (_state, store) = store();
        store.write_certificate("a.test", "half of").unwrap();
        let authority = Broken { until: Instant::now(), asked: RefCell::default() };
        let names = ["a.test".to_owned()];
        let _ = timeout(Duration::from_secs(1), keep_by(&authority, &store, &names, Schedule::default(), |_| {})).await;
        assert!(leaf::validity(&store.read_certificate("a.test").unwrap(), "a.test").is_ok());
    }
}
