//! The access log: one line an exchange or TCP connection, formatted on the worker, written by a thread of its own.
//!
//! A worker must never wait for whoever reads the log. Lines are gathered for a moment; when the writer cannot keep up,
//! whole batches are dropped and counted.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use http::request;
use odin_chain::{ConnectionInfo, HookState, Value};

use crate::observe::finished::Finished;
use crate::observe::log_text::{now, quoted, quoted_ascii, unix_seconds};
use crate::observe::log_tls;
use crate::relay::RelayReport;
use crate::snapshot::{AccessLog, Snapshot};

/// Lines leave a worker after at most so long.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Or when so many bytes have gathered.
const FLUSH_AT: usize = 32 * 1024;
/// How long the last lines may take.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// Batches that may wait for the writer.
const WAITING: usize = 256;

/// The thread that writes to standard output.
pub(crate) struct LogWriter {
    sender: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    /// Disconnected once the thread has ended.
    ended: Receiver<()>,
}

impl LogWriter {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let (ending, ended) = sync_channel::<()>(1);
        let write = move || {
            let _ending = ending;
            for batch in receiver {
                // Nobody may be reading: then there is nobody to tell, either.
                let _ = std::io::stdout().lock().write_all(&batch).and_then(|()| std::io::stdout().flush());
            }
        };
        std::thread::Builder::new().name("access-log".into()).spawn(write)?;
        Ok(LogWriter { sender, dropped: Arc::default(), ended })
    }

    /// Batches of lines that were dropped because the writer was behind.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    pub(crate) fn handle(&self) -> LogHandle {
        LogHandle { sender: self.sender.clone(), dropped: self.dropped.clone() }
    }

    /// Writes what is left, unless nobody reads it; every worker must have ended.
    pub(crate) fn finish(self) {
        drop(self.sender);
        // Never answered: it ends by disconnecting, or by the time-out.
        let _ = self.ended.recv_timeout(LAST_WRITE);
    }
}

/// What a worker is given when it starts.
pub(crate) struct LogHandle {
    sender: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// A worker's lines.
pub(crate) struct WorkerLog {
    handle: LogHandle,
    lines: Rc<RefCell<Vec<u8>>>,
    flushing: Rc<Cell<bool>>,
}

impl WorkerLog {
    pub(crate) fn new(handle: LogHandle) -> Self {
        WorkerLog { handle, lines: Rc::default(), flushing: Rc::default() }
    }

    /// The line of an exchange up to what plugins have to say. Empty when there is no log; `finished` is not asked then.
    pub(crate) fn line<'a>(&self, snapshot: &Snapshot, finished: impl FnOnce() -> Finished<'a>) -> String {
        match snapshot.access_log {
            AccessLog::Off => String::new(),
            AccessLog::Text => text(&finished()),
            AccessLog::Json => json(&finished()),
        }
    }

    /// Ends the line with what plugins have to say, and adds it.
    pub(crate) fn push(&self, snapshot: &Snapshot, mut line: String, told: Told<'_>) {
        if line.is_empty() {
            return;
        }
        remembered(&mut line, snapshot, told);
        line.push_str(if snapshot.access_log == AccessLog::Json { "}\n" } else { "\n" });
        self.add(&line);
    }

    /// Adds the line of a TCP connection; `state` is what its plugins remember.
    pub(crate) fn connection(
        &self,
        snapshot: &Snapshot,
        info: &ConnectionInfo,
        endpoint: Option<std::net::SocketAddr>,
        report: &TcpReport,
        elapsed: Duration,
        state: Option<&HookState>,
    ) {
        let TcpReport { received, sent, error } = report;
        let mut line = String::with_capacity(160);
        let endpoint = endpoint.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let (peer, listener, ms) = (info.peer, &info.listener, elapsed.as_secs_f64() * 1e3);
        let _ = match snapshot.access_log {
            AccessLog::Off => return,
            AccessLog::Text => {
                write!(
                    line,
                    "{} {peer} {listener} TCP {sent}B sent {received}B received {ms:.1}ms endpoint={endpoint}",
                    now()
                )
            }
            AccessLog::Json => write!(
                line,
                r#"{{"time":{:.3},"listener":{},"client":"{peer}","protocol":"TCP","bytes_sent":{sent},"bytes_received":{received},"duration_ms":{ms:.3},"endpoint":"{endpoint}""#,
                unix_seconds(),
                quoted(listener),
            ),
        };
        if let Some(tls) = &info.tls {
            match snapshot.access_log {
                AccessLog::Json => log_tls::json(&mut line, tls),
                _ => log_tls::text(&mut line, tls),
            }
        }
        if let Some(error) = error {
            let _ = match snapshot.access_log {
                AccessLog::Json => write!(line, r#","error":{}"#, quoted(error)),
                _ => write!(line, " error={}", quoted_ascii(error)),
            };
        }
        self.push(snapshot, line, Told::new(None, state));
    }

    fn add(&self, line: &str) {
        self.lines.borrow_mut().extend_from_slice(line.as_bytes());
        if self.lines.borrow().len() >= FLUSH_AT {
            self.flush();
        } else if !self.flushing.replace(true) {
            let (lines, flushing) = (self.lines.clone(), self.flushing.clone());
            let handle = LogHandle { sender: self.handle.sender.clone(), dropped: self.handle.dropped.clone() };
            tokio::task::spawn_local(async move {
                tokio::time::sleep(FLUSH_AFTER).await;
                flushing.set(false);
                handle.send(std::mem::take(&mut *lines.borrow_mut()));
            });
        }
    }

    /// Hands over what has gathered.
    pub(crate) fn flush(&self) {
        self.handle.send(std::mem::take(&mut *self.lines.borrow_mut()));
    }
}

impl LogHandle {
    fn send(&self, batch: Vec<u8>) {
        if !batch.is_empty() && self.sender.try_send(batch).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// What an exchange leaves for the end of its line.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// The request's head, as it went upstream.
    head: Option<&'a request::Parts>,
    /// What its plugins remember.
    state: Option<&'a HookState>,
}

impl<'a> Told<'a> {
    /// The head may also be in the state, where the plugins had it last.
    pub(crate) fn new(head: Option<&'a request::Parts>, state: Option<&'a HookState>) -> Self {
        Told { head: head.or_else(|| state.and_then(|state| state.request.as_deref())), state }
    }
}

/// What became of a TCP connection.
pub(crate) struct TcpReport {
    /// Bytes from the client that the endpoint was sent.
    pub(crate) received: u64,
    /// Bytes from the endpoint that the client was sent.
    pub(crate) sent: u64,
    /// None after a regular end.
    pub(crate) error: Option<String>,
}

impl From<RelayReport> for TcpReport {
    fn from(report: RelayReport) -> Self {
        let error = report.end.failure().map(|(_, words)| words);
        TcpReport { received: report.a_to_b, sent: report.b_to_a, error }
    }
}

fn text(done: &Finished<'_>) -> String {
    let mut line = String::with_capacity(240);
    let request = match done.unread {
        Some(start) => quoted_ascii(start),
        None => quoted_ascii(&format!("{} {} {:?}", done.method, done.uri, done.version)),
    };
    let _ = write!(
        line,
        "{} {} {request} {} {}B {:.1}ms",
        now(),
        done.client,
        done.status.as_u16(),
        done.sent,
        done.elapsed.as_secs_f64() * 1e3,
    );
    if let Some(id) = done.id {
        let id = String::from_utf8_lossy(id.as_bytes());
        // The client's own, where it is trusted, may be anything.
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let _ = if plain { write!(line, " id={id}") } else { write!(line, " id={}", quoted_ascii(&id)) };
    }
    if let Some((_, address)) = done.endpoint {
        let _ = write!(line, " endpoint={address}");
    }
    if done.attempts > 1 {
        let _ = write!(line, " attempts={}", done.attempts);
    }
    if let Some(tls) = done.tls {
        log_tls::text(&mut line, tls);
    }
    if let Some(plugin) = done.answered_by {
        let _ = write!(line, " answered-by={plugin}");
    }
    if let Some((blame, failure)) = done.failure {
        let _ = write!(line, " blame={} error={}", blame.as_str(), quoted_ascii(failure));
    }
    line
}

fn json(done: &Finished<'_>) -> String {
    let mut line = String::with_capacity(400);
    let header = |value: Option<&http::HeaderValue>| {
        quoted(&String::from_utf8_lossy(value.map_or(b"".as_slice(), |value| value.as_bytes())))
    };
    let uri = done.uri.to_string();
    let (method, target) = match done.unread {
        Some(start) => start.split_once(' ').unwrap_or(("-", start)),
        None => (done.method.as_str(), uri.as_str()),
    };
    let _ = write!(
        line,
        r#"{{"time":{:.3},"listener":{},"client":"{}","method":{},"host":{},"path":{},"protocol":"{:?}","status":{},"bytes_sent":{},"bytes_received":{},"duration_ms":{:.3},"attempts":{},"request_id":{}"#,
        unix_seconds(),
        quoted(done.listener),
        done.client,
        quoted(method),
        header(done.authority),
        quoted(target),
        done.version,
        done.status.as_u16(),
        done.sent,
        done.received,
        done.elapsed.as_secs_f64() * 1e3,
        done.attempts,
        header(done.id),
    );
    if let Some((cluster, address)) = done.endpoint {
        let _ = write!(line, r#","cluster":{},"endpoint":"{address}""#, quoted(cluster));
    }
    if let Some(tls) = done.tls {
        log_tls::json(&mut line, tls);
    }
    if let Some(plugin) = done.answered_by {
        let _ = write!(line, r#","answered_by":{}"#, quoted(plugin));
    }
    if let Some((blame, failure)) = done.failure {
        let _ = write!(line, r#","blame":"{}","error":{}"#, blame.as_str(), quoted(failure));
    }
    line
}

/// What the plugins cost, the fields of the request that the config names, and the values that plugins left for the log.
fn remembered(line: &mut String, snapshot: &Snapshot, Told { head, state }: Told<'_>) {
    let json = snapshot.access_log == AccessLog::Json;
    let nanos = state.map_or(0, |state| state.plugin_nanos);
    let micros = nanos as f64 / 1e3;
    let _ = match json {
        true if head.is_some() || state.is_some() => write!(line, r#","plugin_us":{micros:.3}"#),
        false if nanos > 0 => write!(line, " plugin={micros:.1}us"),
        _ => Ok(()),
    };
    if let Some(head) = head {
        fields(line, snapshot, head);
    }
    let Some(state) = state else { return };
    let mut begun = false;
    for name in &snapshot.access_log_context {
        let Some(value) = state.remembers(name) else { continue };
        let value = in_words(&value, if json { quoted } else { quoted_ascii });
        let _ = match (json, std::mem::replace(&mut begun, true)) {
            (true, false) => write!(line, r#","context":{{{}:{value}"#, quoted(name)),
            (true, true) => write!(line, ",{}:{value}", quoted(name)),
            (false, _) => write!(line, " {name}={value}"),
        };
    }
    if json && begun {
        line.push('}');
    }
}

/// The fields of the request's head that the config names for the log.
fn fields(line: &mut String, snapshot: &Snapshot, head: &request::Parts) {
    let json = snapshot.access_log == AccessLog::Json;
    let mut begun = false;
    for name in &snapshot.access_log_fields {
        let Some(value) = head.headers.get(name) else { continue };
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = match (json, std::mem::replace(&mut begun, true)) {
            (true, false) => write!(line, r#","fields":{{"{name}":{}"#, quoted(&value)),
            (true, true) => write!(line, r#","{name}":{}"#, quoted(&value)),
            (false, _) => write!(line, " {name}={}", quoted_ascii(&value)),
        };
    }
    if json && begun {
        line.push('}');
    }
}

/// A value as JSON; bytes that are no text are written as hexadecimal.
fn in_words(value: &Value, quoted: fn(&str) -> String) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) if value.is_finite() => value.to_string(),
        Value::Float(_) => "null".to_owned(),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => quoted(text),
            Err(_) => quoted(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        },
    }
}
