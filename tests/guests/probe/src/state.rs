//! Probes of all that remembers: the context, shared state and metrics. Must leave the keys that the response hook
//! reads as it found them.

use std::time::Duration;

use odin_sdk::context::{self, Json, Key};
use odin_sdk::metrics::{Counter, Gauge, Histogram};
use odin_sdk::shared::{self, SharedError};
use odin_sdk::{Request, Result, SharedCounter};

use crate::{BYTES, STATUS, TEXT};

static SEEN: SharedCounter = SharedCounter::new("seen");
static REQUESTS: Counter = Counter::new("requests_total");
static LAST: Gauge = Gauge::new("last_seen");
static SIZES: Histogram = Histogram::new("path_bytes", &[8.0, 64.0]);

static FLOAT: Key<f64> = Key::new("probe-float");
static FLAG: Key<bool> = Key::new("private:probe-flag");
static LIST: Key<Json<Vec<u32>>> = Key::new("probe-list");
static VISITS: Key<u32> = Key::new("probe-visits");

/// Each probe's field and what it found, the error's words where it failed.
pub(crate) fn probe(request: &Request) -> Vec<(&'static str, String)> {
    let seen = SEEN.add(1);
    REQUESTS.add(1);
    LAST.set(seen as f64);
    LAST.add(0.5);
    SIZES.observe(request.path().len() as f64);
    let probes = [
        ("x-probe-context", context(request)),
        ("x-probe-read-only", Ok(read_only())),
        ("x-probe-connection", connection()),
        ("x-probe-shared", shared()),
    ];
    let mut found = vec![("x-probe-seen", seen.to_string())];
    found.extend(probes.map(|(name, result)| (name, result.unwrap_or_else(|error| error.message().to_owned()))));
    found
}

/// Once with each type, and once with too much.
fn context(request: &Request) -> Result<String> {
    TEXT.set("remembered")?;
    BYTES.set(&[0, 255])?;
    FLOAT.set(&0.5)?;
    FLAG.set(&true)?;
    LIST.set(&vec![1, 2, 3])?;
    if let Some(status) = request.get_as("x-status") {
        STATUS.set(&status)?;
    }
    let too_much = context::set("probe-huge", "x".repeat(64 * 1024)).err().map(|error| error.name());
    let known = FLOAT.get() == Some(0.5) && FLAG.get() == Some(true) && LIST.get() == Some(vec![1, 2, 3]);
    FLOAT.remove();
    Ok(format!("{known} {} {}", FLOAT.get().is_none(), too_much.unwrap_or("ok")))
}

fn read_only() -> String {
    let error = context::set("odin.status", 200).err();
    error.map_or("ok", |error| error.name()).to_owned()
}

/// Counts the exchanges of a connection; a value of the exchange hides that of the connection until it is removed.
fn connection() -> Result<String> {
    let visits = VISITS.get().unwrap_or(0) + 1;
    VISITS.set_on_connection(&visits)?;
    VISITS.set(&1000)?;
    let hidden = VISITS.get() == Some(1000);
    VISITS.remove();
    Ok(format!("{} {hidden}", VISITS.get().unwrap_or(0)))
}

fn shared() -> Result<String> {
    let version = shared::set("probe", "one", Some(Duration::from_secs(60)))?;
    let entry = shared::get("probe").ok_or("it is gone at once")?;
    let second = shared::compare_and_set("probe", Some(entry.version), "two", None);
    let lost = match shared::compare_and_set("probe", Some(version), "three", None) {
        Err(SharedError::Conflict(Some(_))) => "conflict",
        _ => "odd",
    };
    shared::update("probe-log", |old| [old.unwrap_or_default(), b"."].concat())?;
    let removed = shared::remove("probe");
    // Two workers may probe at once: then the second write loses, which is right as well.
    let second = matches!(second, Ok(_) | Err(SharedError::Conflict(_)));
    Ok(format!("{} {second} {lost} {removed} {}", entry.value.escape_ascii(), shared::get("probe").is_none()))
}
