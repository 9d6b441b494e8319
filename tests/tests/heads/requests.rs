//! Runs the tables of requests: sends the exact bytes, then asks the client's and the upstream's side what happened.

use odin_tests::{Odin, Protocol, Raw};
use tokio::task::JoinSet;

use crate::recorder::{Arrived, Recorder};
use crate::{bytes, report, request_bodies, request_heads};

/// What must become of a request.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// 400, the connection ends, and no byte of it reaches an upstream.
    Refused,
    /// As `Refused`, with one of these statuses.
    RefusedWith(&'static [u16]),
    /// The body is what is wrong: 400, the connection ends, and no upstream ever has a complete request.
    CutOff,
    /// It arrives once, complete, and like this.
    Forwarded(&'static [Check]),
    /// Refused, or forwarded like this: both are safe.
    Either(&'static [Check]),
}

/// One fact about a request that has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// The field is there once, with this value.
    Has(&'static str, &'static str),
    /// The field is not there.
    Lacks(&'static str),
    /// The body is this.
    Body(&'static str),
}

/// One line of a table. `/CASE` in the bytes becomes a path of its own.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) wanted: Wanted,
}

impl Case {
    pub(crate) fn new(name: &'static str, text: impl Into<String>, wanted: Wanted) -> Case {
        Case { name, text: text.into(), wanted }
    }
}

#[tokio::test]
async fn odd_request_heads_go_no_further_to_http1() {
    run("request heads to HTTP/1.1", request_heads::cases(), Protocol::Http1).await;
}

#[tokio::test]
async fn odd_request_heads_go_no_further_to_http2() {
    run("request heads to HTTP/2", request_heads::cases(), Protocol::Http2).await;
}

#[tokio::test]
async fn odd_request_bodies_never_arrive_complete_over_http1() {
    run("request bodies to HTTP/1.1", request_bodies::cases(), Protocol::Http1).await;
}

#[tokio::test]
async fn odd_request_bodies_never_arrive_complete_over_http2() {
    run("request bodies to HTTP/2", request_bodies::cases(), Protocol::Http2).await;
}

async fn run(table: &str, cases: Vec<Case>, upstream: Protocol) {
    let recorder = Recorder::start(upstream).await;
    let odin = Odin::builder().upstream(upstream).target(&recorder).start().await;
    let address = odin.address("web");
    let mut running = JoinSet::new();
    for (number, case) in cases.iter().cloned().enumerate() {
        running.spawn(async move { (number, ask(Raw::connect(address).await, &case, number).await) });
    }
    let mut answers = vec![Err("the case did not finish; see above".to_string()); cases.len()];
    while let Some(joined) = running.join_next().await {
        if let Ok((number, answer)) = joined {
            answers[number] = answer;
        }
    }
    // Odin still serves, and whatever was forwarded before this has arrived.
    odin.get("/sentinel").await.has_status(200);
    let arrived = recorder.arrived();
    let mut failures = Vec::new();
    for (number, (case, answer)) in cases.iter().zip(answers).enumerate() {
        if let Err(why) = answer.and_then(|status| judge(case, number, status, &arrived)) {
            failures.push(format!("  {}: {why}\n    {:?}", case.name, case.text.chars().take(160).collect::<String>()));
        }
    }
    let expected = |request: &&Arrived| request.path.starts_with("/case-") || request.path == "/sentinel";
    failures
        .extend(arrived.iter().filter(|request| !expected(request)).map(|r| format!("  arrived from nowhere: {r:?}")));
    report(table, failures);
    odin.stop().await;
}

/// Sends one case on a connection of its own; answers the status that came, or why the answer cannot be right.
async fn ask(mut client: Raw, case: &Case, number: usize) -> Result<u16, String> {
    let mut text = case.text.replace("/CASE", &format!("/case-{number}"));
    if !matches!(case.wanted, Wanted::Forwarded(_) | Wanted::Either(_)) && text.len() < 4000 {
        text += &format!("GET /smuggled-{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    client.send(bytes(&text)).await;
    let method = text.split(' ').next().unwrap_or("").to_string();
    let Some(response) = client.response(&method).await else {
        return Err("closed without an answer".to_string());
    };
    let status = response.head.status();
    if status != 200 {
        let (rest, _) = client.rest().await;
        if !rest.is_empty() {
            return Err(format!("{status}, and then {:?}", String::from_utf8_lossy(&rest)));
        }
    }
    Ok(status)
}

fn judge(case: &Case, number: usize, status: u16, arrived: &[Arrived]) -> Result<(), String> {
    let path = format!("/case-{number}");
    // Some cases have no path of their own, or one that is changed: those are found by what arrived from nowhere.
    let mine: Vec<_> = arrived.iter().filter(|request| request.path.split('?').next() == Some(&path)).collect();
    let refused = |statuses: &[u16]| match (statuses.contains(&status), mine.as_slice()) {
        (false, _) => Err(format!("wanted {statuses:?}, got {status}; arrived: {mine:?}")),
        (true, []) => Ok(()),
        (true, arrived) => Err(format!("{status}, but it arrived: {arrived:?}")),
    };
    match &case.wanted {
        Wanted::Refused => refused(&[400]),
        Wanted::RefusedWith(statuses) => refused(statuses),
        Wanted::CutOff => match mine.iter().any(|request| request.complete) {
            true => Err(format!("it arrived complete: {mine:?}")),
            false if status == 400 => Ok(()),
            false => Err(format!("wanted 400, got {status}")),
        },
        Wanted::Either(checks) if status == 200 => arrives(&mine, checks),
        Wanted::Either(_) => refused(&[400]),
        Wanted::Forwarded(checks) if status == 200 => arrives(&mine, checks),
        Wanted::Forwarded(_) => Err(format!("wanted 200, got {status}")),
    }
}

fn arrives(mine: &[&Arrived], checks: &[Check]) -> Result<(), String> {
    let [request] = mine else { return Err(format!("arrived {} times", mine.len())) };
    if !request.complete {
        return Err("it arrived incomplete".to_string());
    }
    for check in checks {
        let holds = match check {
            Check::Has(name, value) => request.all(name) == [*value],
            Check::Lacks(name) => request.all(name).is_empty(),
            Check::Body(body) => request.body == body.as_bytes(),
        };
        if !holds {
            return Err(format!("not so: {check:?}; arrived: {request:?}"));
        }
    }
    Ok(())
}
