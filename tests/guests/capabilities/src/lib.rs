//! Answers each request itself, with JSON about what the host's capabilities did. The path says which:
//!
//! `/random`, `/clock`, `/log`, `/metrics`, `/config`; `/shared/get?KEY`, `/shared/set?KEY=VALUE`,
//! `/shared/expire?KEY=VALUE` (after 50 ms), `/shared/remove?KEY`, `/shared/cas?KEY=VALUE` (with the version in
//! `x-version`; without it the key must not be there), `/shared/append?KEY=VALUE` (by `update`), `/shared/count?KEY`.

use std::time::Duration;

use odin_sdk::metrics::{Counter, Gauge, Histogram};
use odin_sdk::shared::{self, SharedError};
use odin_sdk::{Plugin, Reply, Request, Result, SharedCounter, clock, config, debug, error, info, random, warn};
use serde_json::{Value, json};

static CALLS: Counter = Counter::new("calls_total");
static LEVEL: Gauge = Gauge::new("level");
static SIZES: Histogram = Histogram::new("sizes", &[1.0, 10.0, 100.0]);
static COUNT: SharedCounter = SharedCounter::new("count");

#[derive(Default)]
struct Capabilities;

#[odin_sdk::plugin]
impl Plugin for Capabilities {
    fn on_request_headers(&self, request: &Request) -> Result {
        let query = request.query().unwrap_or_default();
        let answer = match request.path_only().as_str() {
            "/random" => random(),
            "/clock" => clock(),
            "/log" => log(&query),
            "/metrics" => metrics(&query)?,
            "/config" => json!({ "value": config::get(&query) }),
            path => match path.strip_prefix("/shared/") {
                Some(action) => shared(action, &query, request.get_as("x-version")),
                None => json!({ "error": "no such capability" }),
            },
        };
        let reply = Reply::new(200).with_field("content-type", "application/json").with_body(answer.to_string());
        Ok(reply.into())
    }
}

fn random() -> Value {
    let bytes = random::bytes(32);
    json!({ "number": random::next().to_string(), "dice": random::below(6), "bytes": bytes })
}

fn clock() -> Value {
    let before = clock::monotonic();
    let now = clock::now();
    json!({ "now": now.as_secs(), "went-back": clock::monotonic() < before })
}

fn log(words: &str) -> Value {
    debug!("debug {words}");
    info!("info {words}");
    warn!("warn {words}");
    error!("error {words}");
    json!({ "logged": 4 })
}

fn metrics(size: &str) -> Result<Value> {
    let size: f64 = size.parse()?;
    CALLS.add(1);
    LEVEL.set(size);
    LEVEL.add(0.5);
    SIZES.observe(size);
    Ok(json!({ "observed": size }))
}

fn shared(action: &str, query: &str, version: Option<u64>) -> Value {
    let (key, value) = query.split_once('=').unwrap_or((query, ""));
    let answer = match action {
        "get" => {
            let entry = shared::get(key);
            return json!({
                "value": entry.as_ref().map(|entry| entry.value.escape_ascii().to_string()),
                "version": entry.map(|entry| entry.version),
            });
        }
        "remove" => return json!({ "removed": shared::remove(key) }),
        "count" => return json!({ "before": COUNT.add(1), "now": COUNT.get() }),
        "set" => shared::set(key, value, None),
        "expire" => shared::set(key, value, Some(Duration::from_millis(50))),
        "cas" => shared::compare_and_set(key, version, value, None),
        "append" => shared::update(key, |old| [old.unwrap_or_default(), value.as_bytes()].concat()),
        "huge" => shared::set(key, vec![b'x'; 512 << 10], None),
        _ => return json!({ "error": "no such action" }),
    };
    match answer {
        Ok(version) => json!({ "version": version }),
        Err(SharedError::TooLarge) => json!({ "error": "too-large" }),
        Err(SharedError::Conflict(version)) => json!({ "error": "conflict", "version": version }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use odin_sdk::testing::{self, Exchange, Metric};

    use super::*;

    fn ask(path: &str) -> Value {
        let outcome = Exchange::new::<Capabilities>(json!({ "a": { "b": [1, "two"] } })).request("GET", path).run();
        serde_json::from_slice(&outcome.client.body).unwrap()
    }

    #[test]
    fn every_capability_answers() {
        assert_eq!(ask("/random")["bytes"].as_array().map(Vec::len), Some(32));
        assert_eq!(ask("/clock")["went-back"], false);
        assert_eq!(ask("/config?a.b.1")["value"], "\"two\"");
        assert_eq!(ask("/log?x")["logged"], 4);
        assert!(testing::logged(odin_sdk::Level::Warn, "warn x"));
        ask("/metrics?7");
        assert_eq!(testing::metric::<Capabilities>("level"), Some(Metric::Gauge(7.5)));
        assert_eq!(testing::metric::<Capabilities>("sizes"), Some(Metric::Histogram(vec![7.0])));
    }

    #[test]
    fn shared_values_are_kept_and_expire() {
        assert_eq!(ask("/shared/expire?k=1")["version"], 1);
        assert_eq!(ask("/shared/cas?k=2")["error"], "conflict");
        testing::advance(Duration::from_millis(50));
        assert_eq!(ask("/shared/get?k")["value"], Value::Null);
        ask("/shared/append?k=a");
        ask("/shared/append?k=b");
        assert_eq!(testing::shared_value::<Capabilities>("k").as_deref(), Some(&b"ab"[..]));
        assert_eq!(ask("/shared/huge?k")["error"], "too-large");
        assert_eq!((ask("/shared/count")["before"].as_u64(), ask("/shared/count")["now"].as_u64()), (Some(0), Some(2)));
    }
}
