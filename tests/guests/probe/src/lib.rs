//! Calls everything that a plugin can call and writes what it found into `x-probe-*` fields, for tests to read.
//!
//! Request fields that steer it: `x-path`, `x-authority` and `x-remove` change the request; `x-log` is logged; `x-status`
//! becomes the status of the response, carried there by the context alone.

use odin_sdk::{
    Decision, FieldError, Lifecycle, MetricCounter, RequestHead, RequestHeaders, ResponseHead, ResponseHeaders,
    SharedCounter, clock, config, context, info,
};

static SEEN: SharedCounter = SharedCounter::new("seen");
static REQUESTS: MetricCounter = MetricCounter::new("requests_total");

struct Probe;

#[odin_sdk::plugin]
impl Lifecycle for Probe {
    fn configure(config: &str) -> Result<(), String> {
        info!("configured with {config}");
        match context::set("too-early", true) {
            Err(context::ContextError::NoExchange) => Ok(()),
            other => Err(format!("the context answered {other:?} in configure")),
        }
    }
}

#[odin_sdk::plugin]
impl RequestHeaders for Probe {
    fn on_request_headers(head: &RequestHead) -> Decision {
        match probe_request(head) {
            Ok(()) => Decision::Continue,
            Err(error) => Decision::reject(format!("probe: {error}")),
        }
    }
}

#[odin_sdk::plugin]
impl ResponseHeaders for Probe {
    fn on_response_headers(head: &ResponseHead, request: &RequestHead) -> Decision {
        match probe_response(head, request) {
            Ok(()) => Decision::Continue,
            Err(error) => Decision::reject(format!("probe: {error}")),
        }
    }
}

fn probe_request(head: &RequestHead) -> Result<(), FieldError> {
    let started = clock::monotonic();
    REQUESTS.add(1);
    set(head, "x-probe-seen", &SEEN.add(1).to_string())?;
    set(head, "x-probe-line", &format!("{} {} {} {}", head.method(), head.scheme(), head.authority(), head.path()))?;
    set(head, "x-probe-config", config::get("greeting").as_deref().unwrap_or("none"))?;

    // Reading: one, all, many, everything.
    let many = head.get_many(&["x-a".to_owned(), "x-missing".to_owned(), "x-b".to_owned()]);
    set(head, "x-probe-many", &many.iter().map(|value| text(value.as_deref())).collect::<Vec<_>>().join(","))?;
    let all: Vec<_> = head.get_all("x-twice").iter().map(|value| text(Some(value))).collect();
    set(head, "x-probe-all", &all.join(","))?;
    set(head, "x-probe-fields", &head.fields().len().to_string())?;

    // Writing: what goes, and what must not.
    set(head, "x-probe-append", "one")?;
    head.append("x-probe-append", b"two")?;
    if let Some(name) = head.get_str("x-remove") {
        head.remove(&name)?;
    }
    set(head, "x-probe-length", answer(head.set("content-length", b"3")))?;
    set(head, "x-probe-host", answer(head.set("host", b"elsewhere")))?;
    set(head, "x-probe-name", answer(head.set("no token", b"")))?;
    set(head, "x-probe-value", answer(head.set("x-split", b"a\r\nx-smuggled: b")))?;
    if let Some(path) = head.get_str("x-path") {
        set(head, "x-probe-path", answer(head.set_path(&path)))?;
    }
    if let Some(authority) = head.get_str("x-authority") {
        set(head, "x-probe-authority", answer(head.set_authority(&authority)))?;
    }

    // The context, once with each type and once with too much.
    let status: Option<i64> = head.get_as("x-status");
    let wrote = context::set("probe-text", "remembered")
        .and_then(|()| context::set("probe-bytes", vec![0u8, 255]))
        .and_then(|()| context::set("probe-float", 0.5))
        .and_then(|()| context::set("private:probe-flag", true))
        .and_then(|()| status.map_or(Ok(()), |status| context::set("probe-status", status)));
    let too_much = context::set("probe-huge", "x".repeat(64 * 1024));
    let known =
        context::get::<f64>("probe-float") == Some(0.5) && context::get::<bool>("private:probe-flag") == Some(true);
    context::remove("probe-float");
    let gone = context::get::<f64>("probe-float").is_none();
    set(head, "x-probe-context", &format!("{wrote:?} {too_much:?} {known} {gone}"))?;

    if let Some(message) = head.get_str("x-log") {
        info!("{message}");
    }
    let sane = clock::monotonic() >= started && clock::now().as_secs() > 1_600_000_000;
    set(head, "x-probe-clock", if sane { "sane" } else { "odd" })
}

fn probe_response(head: &ResponseHead, request: &RequestHead) -> Result<(), FieldError> {
    let remembered: Option<String> = context::get("probe-text");
    let bytes: Option<Vec<u8>> = context::get("probe-bytes");
    let context = format!("{} {}", remembered.as_deref().unwrap_or("none"), bytes.map_or(0, |bytes| bytes.len()));
    head.set("x-probe-context", context.as_bytes())?;
    head.set("x-probe-status", head.status().to_string().as_bytes())?;
    head.set("x-probe-path", request.path().as_bytes())?;
    head.set("x-probe-length", answer(head.set("content-length", b"3")).as_bytes())?;
    if let Some(status) = context::get::<i64>("probe-status") {
        head.set("x-probe-set-status", answer(head.set_status(status as u16)).as_bytes())?;
    }
    head.append("x-probe-append", b"one")?;
    head.append("x-probe-append", b"two")?;
    head.remove("x-upstream-secret")
}

fn set(head: &RequestHead, name: &str, value: &str) -> Result<(), FieldError> {
    head.set(name, value.as_bytes())
}

fn answer(result: Result<(), FieldError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(error) => error.name(),
    }
}

fn text(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}
