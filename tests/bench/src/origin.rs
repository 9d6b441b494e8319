//! The backend behind every proxy: servers of HTTP/1.1, HTTP/2 and large responses, an echo and a sink, as cheap as they
//! can be.
//!
//! It must be the same for all and never the reason for a difference: fixed bytes out, and no more parsing than is needed to
//! see the end of a request.

pub(crate) mod download;
mod http2;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// A request for this path is answered with the request's own head, to see what a proxy did to it.
pub(crate) const MIRROR: &str = "/odin-bench-mirror";
/// A request for this path is not answered until all that wait are released.
pub(crate) const STALL: &str = "/odin-bench-stall";
/// A request for this path is answered with 64 KiB.
pub(crate) const LARGE: &str = "/odin-bench-large";
const BODY_BYTES: usize = 1024;
const LARGE_BYTES: usize = 64 * 1024;

/// Where the servers listen. They end with the process.
pub(crate) struct Origin {
    pub(crate) http: u16,
    pub(crate) http2: u16,
    pub(crate) echo: u16,
    pub(crate) sink: u16,
    pub(crate) download: u16,
    pub(crate) stalled: Arc<Stalled>,
    accepted: Arc<AtomicUsize>,
}

/// The requests for `STALL`.
#[derive(Default)]
pub(crate) struct Stalled {
    arrived: AtomicUsize,
    /// Counts the releases.
    released: watch::Sender<u64>,
}

impl Stalled {
    /// How many have come whole since the origin began, released ones too.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Acquire)
    }

    /// Lets all that wait have their answers.
    pub(crate) fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    async fn wait(&self) -> Result<()> {
        let mut release = self.released.subscribe();
        self.arrived.fetch_add(1, Ordering::Release);
        Ok(release.changed().await?)
    }
}

impl Origin {
    pub(crate) fn start() -> Result<Origin> {
        let bind = || -> Result<(TcpListener, u16)> {
            let listener = TcpListener::bind("127.0.0.1:0").context("the backend cannot listen")?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        };
        let ((http, http_port), (http2, http2_port)) = (bind()?, bind()?);
        let ((echo, echo_port), (sink, sink_port)) = (bind()?, bind()?);
        for listener in [&http, &http2, &echo] {
            listener.set_nonblocking(true)?;
        }
        let accepted = Arc::new(AtomicUsize::new(0));
        let stalled = Arc::new(Stalled::default());
        let answers = Arc::new(Answers {
            response: response(BODY_BYTES),
            large: response(LARGE_BYTES),
            stalled: stalled.clone(),
            accepted: accepted.clone(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let servers = serve(http, http2, echo, answers);
        thread::Builder::new().name("origin".into()).spawn(move || runtime.block_on(servers))?;
        thread::Builder::new().name("sink".into()).spawn(move || {
            for stream in sink.incoming().flatten() {
                thread::spawn(move || swallow(stream));
            }
        })?;
        Ok(Origin {
            http: http_port,
            http2: http2_port,
            echo: echo_port,
            sink: sink_port,
            download: download::start()?,
            stalled,
            accepted,
        })
    }

    /// Connections for HTTP/1.1 and HTTP/2 so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// What the HTTP server says.
struct Answers {
    response: Vec<u8>,
    large: Vec<u8>,
    stalled: Arc<Stalled>,
    accepted: Arc<AtomicUsize>,
}

async fn serve(http: TcpListener, http2: TcpListener, echo: TcpListener, answers: Arc<Answers>) -> Result<()> {
    let count = || answers.accepted.fetch_add(1, Ordering::Relaxed);
    let http = tokio::net::TcpListener::from_std(http)?;
    let http2 = tokio::net::TcpListener::from_std(http2)?;
    let echo = tokio::net::TcpListener::from_std(echo)?;
    loop {
        tokio::select! {
            Ok((stream, _)) = http.accept() => { count(); tokio::spawn(answer(stream, answers.clone())); }
            Ok((stream, _)) = http2.accept() => { count(); tokio::spawn(http2::answer(stream)); }
            Ok((stream, _)) = echo.accept() => { tokio::spawn(repeat(stream)); }
        }
    }
}

fn body(bytes: usize) -> String {
    "0123456789abcde\n".repeat(bytes / 16)
}

fn response(bytes: usize) -> Vec<u8> {
    let body = body(bytes);
    format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain; charset=utf-8\r\n\
         cache-control: max-age=60\r\netag: \"5f2a-61d0\"\r\ncontent-length: {bytes}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Answers one request after the other; no proxy pipelines upstream.
async fn answer(mut stream: tokio::net::TcpStream, answers: Arc<Answers>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        if free.is_empty() {
            bail!("a request that is larger than the backend's buffer");
        }
        let n = stream.read(free).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let Some(head) = whole(buffer.get(..filled).unwrap_or_default()) else { continue };
        // All methods that are used have three letters.
        let asks_for = |path: &str| head.get(4..).is_some_and(|target| target.starts_with(path.as_bytes()));
        if asks_for(MIRROR) {
            let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
            stream.write_all(&[start.as_bytes(), head].concat()).await?;
        } else if asks_for(LARGE) {
            stream.write_all(&answers.large).await?;
        } else {
            if asks_for(STALL) {
                answers.stalled.wait().await?;
            }
            stream.write_all(&answers.response).await?;
        }
        filled = 0;
    }
}

/// The head of a request that has come whole, with its body.
fn whole(request: &[u8]) -> Option<&[u8]> {
    // No body comes with a GET.
    if request.starts_with(b"GET ") {
        return request.ends_with(b"\r\n\r\n").then_some(request);
    }
    let end = request.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, body) = request.split_at_checked(end)?;
    let fields = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let value = |name: &str| fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let is_whole = match value("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => body.len() >= length,
        None => value("transfer-encoding").is_none() || body.ends_with(b"0\r\n\r\n"),
    };
    is_whole.then_some(head)
}

async fn repeat(mut stream: tokio::net::TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        stream.write_all(bytes).await?;
    }
}

/// Reads to the end and says how many bytes came, so that the sender can tell that none was lost.
fn swallow(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => count += n as u64,
        }
    }
    stream.write_all(&count.to_be_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_request_is_whole_with_its_last_byte_whichever_way_it_is_framed() {
        let ends = |request: &str, head: &str| {
            assert_eq!(whole(request.as_bytes()), Some(head.as_bytes()));
            assert_eq!(whole(&request.as_bytes()[..request.len() - 1]), None);
        };
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        ends(get, get);
        for head in [
            "PUT / HTTP/1.1\r\nContent-Length: 12\r\n\r\n",
            "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            ends(&format!("{head}2\r\nhi\r\n0\r\n\r\n"), head);
        }
    }
}
