//! Runs the table of HTTP/1.1 responses: an upstream answers with the exact bytes, and the client, and the fate of the
//! upstream's connection, tell what Odin made of them.

use std::sync::{Arc, Mutex};

use http::Request;
use odin_tests::{Connection, Odin, Protocol, Raw, RawBackend, body, until, within};

use crate::{bytes, report, response_table};

/// What must become of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// 502, and the upstream's connection is cut off.
    BadGateway,
    /// 502, or a body that is visibly broken off; and the upstream's connection is cut off.
    Broken,
    /// The client gets this; the upstream's connection is cut off, or at least never used again.
    PassedAndCutOff(u16, &'static str),
    /// The client gets this, and the upstream's connection is used for the next request.
    PassedAndReused(u16, &'static str),
    /// Either of `BadGateway` and `PassedAndReused`.
    Either(u16, &'static str),
}

/// What the upstream does after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Waits for the next request.
    Stays,
    /// Ends the connection.
    Closes,
    /// Sends these bytes as soon as the client has its response.
    Adds(&'static str),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) answer: String,
    pub(crate) then: Then,
    pub(crate) wanted: Wanted,
}

/// What the upstream has seen, connection by connection.
#[derive(Default)]
struct Seen {
    /// The connection that a path came on.
    on: Vec<(String, usize)>,
    /// The connections on which something was added after the response.
    added: Vec<usize>,
    /// The connections that have ended.
    ended: Vec<usize>,
}

#[tokio::test]
async fn odd_responses_are_refused_or_cut_off_for_http1_clients() {
    run(Protocol::Http1).await;
}

#[tokio::test]
async fn odd_responses_are_refused_or_cut_off_for_http2_clients() {
    run(Protocol::Http2).await;
}

async fn run(downstream: Protocol) {
    let cases: Arc<[Case]> = response_table::cases().into();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (more, adding) = tokio::sync::watch::channel(usize::MAX);
    let (script, notes) = (Arc::clone(&cases), Arc::clone(&seen));
    let backend = RawBackend::start(move |connection, number| {
        serve(connection, number, Arc::clone(&script), Arc::clone(&notes), adding.clone())
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Err(why) = ask(&odin, downstream, case, number, &seen, &more).await {
            let answer: String = case.answer.chars().take(160).collect();
            failures.push(format!("  {}: {why}\n    {answer:?}", case.name));
        }
    }
    report(&format!("responses to {downstream:?}"), failures);
    odin.stop().await;
}

async fn serve(
    mut connection: Raw,
    number: usize,
    cases: Arc<[Case]>,
    seen: Arc<Mutex<Seen>>,
    mut adding: tokio::sync::watch::Receiver<usize>,
) {
    while let Some(Ok(head)) = connection.try_head().await {
        connection.body(&head, "").await;
        seen.lock().unwrap().on.push((head.path().to_string(), number));
        let case = head.path().strip_prefix("/case-").and_then(|n| n.parse::<usize>().ok());
        let Some(index) = case else {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            continue;
        };
        connection.send(bytes(&cases[index].answer)).await;
        match cases[index].then {
            Then::Stays => {}
            Then::Closes => connection.finish().await,
            Then::Adds(more) => {
                let _ = adding.wait_for(|turn| *turn == index).await;
                connection.send(bytes(more)).await;
                seen.lock().unwrap().added.push(number);
            }
        }
    }
    seen.lock().unwrap().ended.push(number);
}

/// What the client got: the status, and the body when it was whole.
async fn answer(client: &mut Connection, method: &str, path: &str) -> Result<(u16, Option<String>), String> {
    let request = Request::builder().method(method).uri(path).body(body::empty()).unwrap();
    let response = client.try_start(request).await.map_err(|error| format!("no response at all: {error:?}"))?;
    let status = response.status().as_u16();
    let whole = within("the body or its breaking off", odin_tests::collect(response)).await;
    Ok((status, whole.ok().map(|response| response.text())))
}

/// Whether the upstream's connection ends soon.
async fn ends(on: usize, seen: &Mutex<Seen>) -> bool {
    let ended = until("cut off", || async { seen.lock().unwrap().ended.contains(&on).then_some(()) });
    tokio::time::timeout(std::time::Duration::from_secs(3), ended).await.is_ok()
}

async fn ask(
    odin: &Odin,
    downstream: Protocol,
    case: &Case,
    number: usize,
    seen: &Mutex<Seen>,
    more: &tokio::sync::watch::Sender<usize>,
) -> Result<(), String> {
    let mut client = match downstream {
        Protocol::Http1 => odin.connect().await,
        Protocol::Http2 => odin.connect_http2().await,
    };
    let got = answer(&mut client, case.method, &format!("/case-{number}")).await;
    more.send_replace(number);
    let path = format!("/case-{number}");
    let on: Vec<_> = seen.lock().unwrap().on.iter().filter(|(p, _)| *p == path).map(|(_, on)| *on).collect();
    let Some(on) = on.last().copied() else { return Err(format!("the upstream was never asked; got {got:?}")) };
    let got = match (got, case.wanted, downstream) {
        // A stream error takes back the head that waits before it: the client can tell all the same.
        (Err(_), Wanted::Broken, Protocol::Http2) => (502, None),
        (got, _, _) => got?,
    };

    let passed = |status: u16, body: &str| got == (status, Some(body.to_string()));
    let reused = match case.wanted {
        Wanted::BadGateway if got.0 == 502 => false,
        Wanted::Broken if got.0 == 502 || got.1.is_none() => false,
        Wanted::PassedAndCutOff(status, body) if passed(status, body) => false,
        Wanted::PassedAndReused(status, body) if passed(status, body) => true,
        Wanted::Either(status, body) if passed(status, body) => true,
        Wanted::Either(..) if got.0 == 502 => false,
        wanted => return Err(format!("wanted {wanted:?}, got {got:?}")),
    };
    if let Then::Adds(_) = case.then {
        // What was added waits in the socket; it must be found there before the connection is used again.
        until("the upstream has added", || async { seen.lock().unwrap().added.contains(&on).then_some(()) }).await;
    } else if !reused && !ends(on, seen).await {
        return Err("the upstream was not cut off".to_string());
    }
    let sentinel = format!("/sentinel-{number}");
    let after = answer(&mut odin.connect().await, "GET", &sentinel).await?;
    if after != (200, Some("ok".to_string())) {
        return Err(format!("the next request got {after:?}"));
    }
    if !reused && !ends(on, seen).await {
        return Err("the upstream was not cut off".to_string());
    }
    let seen = seen.lock().unwrap();
    let next = seen.on.iter().find(|(path, _)| *path == sentinel).map(|(_, number)| *number);
    match (reused, next == Some(on)) {
        (true, false) => Err("the connection was to be used again and was not".to_string()),
        (false, true) => Err("the connection was used again".to_string()),
        _ => Ok(()),
    }
}
