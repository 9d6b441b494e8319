//! Calls everything that a plugin can call about heads, context, clock, config, shared state and metrics, and writes
//! what it found into `x-probe-*` fields, for tests to read.
//!
//! Request fields that steer it: `x-path`, `x-authority`, `x-method`, `x-scheme` and `x-remove` change the request;
//! `x-log` is logged; `x-status` becomes the status of the response, carried there by the context alone.

mod state;

use odin_sdk::{
    Decision, Ended, FieldError, Plugin, Request, Response, Result, clock, config, context, context::Key, facts, info,
};

static TEXT: Key<String> = Key::new("probe-text");
static BYTES: Key<Vec<u8>> = Key::new("probe-bytes");
static STATUS: Key<u16> = Key::new("probe-status");
static ENDED: Key<String> = Key::new("probe-ended");

struct Probe;

#[odin_sdk::plugin]
impl Plugin for Probe {
    type Config = serde_json::Value;

    fn new(config: serde_json::Value) -> Result<Self> {
        info!("configured with {config}");
        match context::set("too-early", true) {
            Err(context::ContextError::NoExchange) => Ok(Self),
            other => Err(format!("the context answered {other:?} in configure"))?,
        }
    }

    fn on_request_headers(&self, request: &Request) -> Result {
        let started = clock::monotonic();
        read(request)?;
        write(request)?;
        for (name, found) in state::probe(request) {
            request.set(name, found)?;
        }
        if let Some(message) = request.get_str("x-log") {
            info!("{message}");
        }
        let sane = clock::monotonic() >= started && clock::now().as_secs() > 1_600_000_000;
        request.set("x-probe-clock", if sane { "sane" } else { "odd" })?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        let text = TEXT.get().unwrap_or_else(|| "none".to_owned());
        let bytes = BYTES.get().map_or(0, |bytes| bytes.len());
        response.set("x-probe-context", format!("{text} {bytes}"))?;
        response.set("x-probe-status", response.status().to_string())?;
        response.set("x-probe-path", request.path())?;
        response.set("x-probe-length", answer(response.set("content-length", "3")))?;
        response.set("x-probe-late", answer(request.set("x-late", "too")))?;
        response.set("x-probe-has-body", response.has_body().to_string())?;
        response.set("x-probe-facts", facts_of_the_response())?;
        if let Some(status) = STATUS.get() {
            response.set("x-probe-set-status", answer(response.set_status(status)))?;
        }
        response.set("x-probe-bodiless", answer(response.set_status(204)))?;
        response.append("x-probe-append", "one")?;
        response.append("x-probe-append", "two")?;
        let [first, none] = response.get_many(["x-probe-append", "x-missing"]);
        response.set("x-probe-many", format!("{},{}", text_of(first.as_deref()), text_of(none.as_deref())))?;
        response.remove("x-upstream-secret")?;
        Ok(Decision::Continue)
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        let late = answer(exchange.request().set("x-late", "too"));
        let timed = exchange.elapsed().is_some_and(|elapsed| !elapsed.is_zero());
        ENDED.set(&format!("{:?} {late} {timed} {}", exchange.status(), exchange.error().as_deref().unwrap_or("-")))
    }
}

fn read(request: &Request) -> Result<()> {
    let line = [request.method(), request.scheme(), request.authority(), request.path()].join(" ");
    request.set("x-probe-line", line)?;
    request.set("x-probe-config", config::get("greeting").as_deref().unwrap_or("none"))?;
    let many = request.get_many(["x-a", "x-missing", "x-b"]);
    request.set("x-probe-many", many.map(|value| text_of(value.as_deref())).join(","))?;
    let all: Vec<_> = request.get_all("x-twice").iter().map(|value| text_of(Some(value))).collect();
    request.set("x-probe-all", all.join(","))?;
    request.set("x-probe-fields", request.fields().len().to_string())?;
    request.set("x-probe-has", format!("{} {}", request.has("X-A"), request.has("x-missing")))?;
    request.set("x-probe-has-body", request.has_body().to_string())?;
    request.set("x-probe-facts", facts_of_the_request())?;
    Ok(())
}

/// Writing: what goes, and what must not.
fn write(request: &Request) -> Result<()> {
    request.set("x-probe-append", "one")?;
    request.append("x-probe-append", "two")?;
    if let Some(name) = request.get_str("x-remove") {
        request.remove(&name)?;
    }
    request.set("x-probe-length", answer(request.set("content-length", "3")))?;
    request.set("x-probe-host", answer(request.set("host", "elsewhere")))?;
    request.set("x-probe-name", answer(request.set("no token", "")))?;
    request.set("x-probe-value", answer(request.set("x-split", "a\r\nx-smuggled: b")))?;
    if let Some(path) = request.get_str("x-path") {
        request.set("x-probe-path", answer(request.set_path(&path)))?;
    }
    if let Some(authority) = request.get_str("x-authority") {
        request.set("x-probe-authority", answer(request.set_authority(&authority)))?;
    }
    if let Some(method) = request.get_str("x-method") {
        request.set("x-probe-method", answer(request.set_method(&method)))?;
    }
    if let Some(scheme) = request.get_str("x-scheme") {
        request.set("x-probe-scheme", answer(request.set_scheme(&scheme)))?;
    }
    Ok(())
}

/// What is known before an endpoint is picked: listener, route, cluster, TLS, and which of the others are there.
fn facts_of_the_request() -> String {
    let known = |fact: bool| if fact { "known" } else { "-" };
    let words = |fact: Option<String>| fact.unwrap_or_else(|| "-".to_owned());
    format!(
        "listener={} route={} cluster={} tls={:?} id={} client={} local={} started={} endpoint={} status={} attempt={}",
        words(facts::listener()),
        words(facts::route()),
        words(facts::cluster()),
        facts::tls(),
        known(facts::request_id().is_some()),
        known(facts::client_address().is_some_and(|address| address.port() != 0)),
        known(facts::local_address().is_some_and(|address| address.port() != 0)),
        known(facts::started().is_some_and(|started| started.as_secs() > 1_600_000_000)),
        known(facts::endpoint().is_some()),
        known(facts::status().is_some()),
        known(facts::attempt().is_some()),
    )
}

fn facts_of_the_response() -> String {
    let endpoint = facts::endpoint().map(|endpoint| endpoint.to_string());
    format!(
        "endpoint={} status={} attempt={} error={}",
        endpoint.as_deref().unwrap_or("-"),
        facts::status().unwrap_or_default(),
        facts::attempt().unwrap_or_default(),
        facts::error().as_deref().unwrap_or("-"),
    )
}

fn answer(result: Result<(), FieldError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(error) => error.name(),
    }
}

fn text_of(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Upstream};

    use super::*;

    #[test]
    fn the_simulated_host_answers_as_the_contract_says() {
        let exchange = Exchange::new::<Probe>(serde_json::json!({ "greeting": "hello" })).field("x-status", "203");
        let exchange = exchange.request("GET", "/old").field("x-path", "/new").field("x-a", "1").field("x-b", "2");
        let outcome = exchange.upstream(|_| Upstream::new(200).body(["x"])).run();
        for (field, found) in [
            ("x-probe-line", "GET http odin.test /old"),
            ("x-probe-config", "\"hello\""),
            ("x-probe-many", "1,-,2"),
            ("x-probe-has", "true false"),
            ("x-probe-length", "forbidden"),
            ("x-probe-name", "invalid-name"),
            ("x-probe-value", "invalid-value"),
            ("x-probe-context", "true true too-large"),
            ("x-probe-read-only", "read-only"),
            ("x-probe-connection", "1 true"),
            ("x-probe-shared", "one true conflict true true"),
            ("x-probe-clock", "sane"),
        ] {
            assert_eq!(outcome.upstream().field(field), Some(found), "{field}");
        }
        assert_eq!(outcome.client.status, Some(203));
        assert_eq!(outcome.client.field("x-probe-context"), Some("remembered 2"));
        assert_eq!(outcome.client.field("x-probe-late"), Some("too-late"));
        assert_eq!(outcome.client.field("x-probe-bodiless"), Some("invalid-value"));
        assert_eq!(outcome.context_text("probe-ended"), Some("Some(203) too-late false -"));
    }
}
