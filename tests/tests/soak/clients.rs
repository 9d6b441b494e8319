//! The clients of the soak: those that check every byte of what they get, and those that abort. And the backend of both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use odin_tests::body::{self, Body, Broken};
use odin_tests::{Connection, Protocol, Raw};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What bodies are cut out of.
static CONTENT: LazyLock<Bytes> = LazyLock::new(|| body::pieces(1 << 20).flatten().collect());

/// The part of the content that a path names: `/START/LENGTH`.
fn part(path: &str) -> Option<Bytes> {
    let (start, length) = path.strip_prefix('/')?.split_once('/')?;
    let (start, length): (usize, usize) = (start.parse().ok()?, length.parse().ok()?);
    Some(CONTENT.slice(start..start + length))
}

/// The backend: a part of the content for a GET, the body back for a POST.
pub(crate) async fn answer(request: Request<Incoming>) -> Response<Body> {
    let content = match part(request.uri().path()) {
        // With a length, or in chunks.
        Some(content) if content.len() % 2 == 0 => body::full(content),
        Some(content) => body::full(content).map_frame(|frame| frame).boxed_unsync(),
        None => request.into_body().map_err(|_| Broken).boxed_unsync(),
    };
    Response::new(content)
}

/// What a client does, again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Requests on a connection that is kept for a while, with bodies in one or the other direction.
    Http(Protocol),
    /// HTTP/1 connections that are reset in the middle: in a head, in a body, before the answer, in the answer.
    HttpAborts,
    /// Streams of an HTTP/2 connection that are reset in the middle, beside others that are not.
    Http2Resets,
    /// Messages on a relayed connection.
    Tcp,
    /// Relayed connections that are reset.
    TcpAborts,
}

#[derive(Default)]
struct Tally {
    exchanges: AtomicUsize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    aborted: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// Clients at work.
#[derive(Default)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    tasks: Mutex<JoinSet<()>>,
}

impl Clients {
    /// So many more of this kind.
    pub(crate) fn begin(&self, number: usize, kind: Kind, address: SocketAddr) {
        let mut tasks = self.tasks.lock().unwrap();
        for _ in 0..number {
            let (stop, tally) = (Arc::clone(&self.stop), Arc::clone(&self.tally));
            let mut dice = Dice(tasks.len() as u64 + 1);
            tasks.spawn(async move {
                while !stop.load(Relaxed) {
                    let talked = match kind {
                        Kind::Http(protocol) => http(protocol, address, &mut dice, &tally).await,
                        Kind::Http2Resets => resets(address, &mut dice, &tally).await,
                        Kind::Tcp => tcp(address, &mut dice, &tally).await,
                        Kind::HttpAborts | Kind::TcpAborts => {
                            aborts(matches!(kind, Kind::TcpAborts), address, &mut dice).await;
                            tally.aborted.fetch_add(1, Relaxed);
                            Ok(())
                        }
                    };
                    if let Err(error) = talked {
                        tally.failures.lock().unwrap().push(format!("{kind:?}: {error}"));
                        return;
                    }
                    dice.pause().await;
                }
            });
        }
    }

    /// Requests and messages that came back whole.
    pub(crate) fn exchanges(&self) -> usize {
        self.tally.exchanges.load(Relaxed) + self.tally.messages.load(Relaxed)
    }

    /// What was done so far.
    pub(crate) fn told(&self) -> String {
        let Tally { exchanges, messages, bytes, aborted, failures } = &*self.tally;
        let [exchanges, messages, bytes, aborted] =
            [exchanges, messages, bytes, aborted].map(|count| count.load(Relaxed));
        let (mib, failures) = (bytes >> 20, failures.lock().unwrap().len());
        format!(
            "{exchanges} requests and {messages} messages ({mib} MiB) checked, {aborted} aborted, {failures} errors"
        )
    }

    /// Fails if an exchange has failed that was not aborted.
    #[track_caller]
    pub(crate) fn check(&self) {
        let failures = self.tally.failures.lock().unwrap();
        let some = &failures[..failures.len().min(10)];
        assert!(failures.is_empty(), "{} failures after {} exchanges: {some:#?}", failures.len(), self.exchanges());
    }

    /// Lets all finish what they do. Nothing may have failed.
    pub(crate) async fn end(&self) {
        self.stop.store(true, Relaxed);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        while let Some(client) = tasks.join_next().await {
            if let Err(error) = client {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.check();
    }
}

/// A request for a part of the content, or one that sends it; and what must come back.
fn request(dice: &mut Dice) -> (Request<Body>, Bytes) {
    let content = dice.content();
    let request = if dice.below(2) == 0 {
        let start = content.as_ptr().addr() - CONTENT.as_ptr().addr();
        Request::get(format!("/{start}/{}", content.len())).body(body::empty())
    } else {
        Request::post("/echo").body(body::full(content.clone()))
    };
    (request.expect("a request"), content)
}

/// A connection with some requests.
async fn http(protocol: Protocol, address: SocketAddr, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let mut client = Connection::try_connect(protocol, address).await?;
    for turn in 0..1 + dice.below(50) {
        let (request, wanted) = request(dice);
        let what = format!("request {turn}, {} {}", request.method(), request.uri());
        let response = client.try_send(request).await.map_err(|error| format!("{what}: {error:?}"))?;
        if response.status != 200 || response.body != wanted {
            return Err(format!("{what}: {} of {} bytes: {response:?}", response.body.len(), wanted.len()));
        }
        tally.exchanges.fetch_add(1, Relaxed);
        tally.bytes.fetch_add(wanted.len(), Relaxed);
        if response.headers.get("connection").is_some_and(|value| value == "close") {
            break;
        }
        dice.pause().await;
    }
    Ok(())
}

/// An HTTP/2 connection on which every other stream is reset.
async fn resets(address: SocketAddr, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let mut client = Connection::try_connect(Protocol::Http2, address).await?;
    for turn in 0..1 + dice.below(50) {
        let (whole, wanted) = request(dice);
        let (half, _) = request(dice);
        // Both are under way, and one of them is dropped: before its head, or in its body.
        let beside = client.begin(half).await;
        let patience = Duration::from_micros(dice.below(3000) as u64);
        let dropped = async move { tokio::time::timeout(patience, beside).await.is_err() };
        let (response, aborted) = tokio::join!(client.try_send(whole), dropped);
        let response = response.map_err(|error| format!("request {turn}: {error:?}"))?;
        if response.status != 200 || response.body != wanted {
            return Err(format!("request {turn}: {} of {} bytes: {response:?}", response.body.len(), wanted.len()));
        }
        tally.exchanges.fetch_add(1, Relaxed);
        tally.aborted.fetch_add(usize::from(aborted), Relaxed);
        dice.pause().await;
    }
    Ok(())
}

/// Connections that nobody finishes.
async fn aborts(tcp: bool, address: SocketAddr, dice: &mut Dice) {
    let Ok(mut raw) = Raw::try_connect(address).await else { return };
    let length = 64 * 1024;
    let upload = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let download = format!("GET /0/{} HTTP/1.1\r\nHost: a\r\n\r\n", CONTENT.len());
    let some = &CONTENT[..dice.below(length)];
    match dice.below(5) {
        0 => {}
        _ if tcp => raw.send(some).await,
        1 => raw.send(&upload.as_bytes()[..dice.below(upload.len())]).await,
        2 => raw.send([upload.as_bytes(), some].concat()).await,
        _ => {
            raw.send(download).await;
            for _ in 0..dice.below(8) {
                raw.read_some().await;
            }
        }
    }
    dice.pause().await;
    // With a FIN, or with a RST.
    if dice.below(2) == 0 {
        raw.reset();
    }
}

/// A relayed connection with some messages.
async fn tcp(address: SocketAddr, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed("connect"))?;
    for _ in 0..1 + dice.below(50) {
        let message = dice.content();
        let (mut reader, mut writer) = stream.split();
        let mut back = vec![0; message.len()];
        let (sent, came) = tokio::join!(writer.write_all(&message), reader.read_exact(&mut back));
        sent.map_err(failed("write"))?;
        came.map_err(failed("read"))?;
        if back != message {
            return Err(format!("another message of {} bytes came back", message.len()));
        }
        tally.messages.fetch_add(1, Relaxed);
        tally.bytes.fetch_add(message.len(), Relaxed);
        dice.pause().await;
    }
    stream.shutdown().await.map_err(failed("shutdown"))?;
    match stream.read(&mut [0]).await {
        Ok(0) => Ok(()),
        other => Err(format!("after the end: {other:?}")),
    }
}

/// Chance, the same in every run.
struct Dice(u64);

impl Dice {
    /// From zero to this, without it.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    /// Some part of the content: short, mostly.
    fn content(&mut self) -> Bytes {
        let longest = [100, 5_000, 50_000, 300_000][self.below(4).min(self.below(4))];
        let length = self.below(longest);
        let start = self.below(CONTENT.len() - length);
        CONTENT.slice(start..start + length)
    }

    /// What a client does between two requests.
    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.below(20) as u64)).await;
    }
}
