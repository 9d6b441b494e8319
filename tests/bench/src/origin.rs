//! The backend behind every proxy: an HTTP/1.1 server, an echo and a sink, as cheap as they can be.
//!
//! It must be the same for all and never the reason for a difference: fixed bytes out, and no more parsing than is needed to
//! see the end of a request head.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A request for this path is answered with the request's own head, to see what a proxy did to it.
pub(crate) const MIRROR: &str = "/odin-bench-mirror";
const BODY_BYTES: usize = 1024;

/// Where the three servers listen. They end with the process.
pub(crate) struct Origin {
    pub(crate) http: u16,
    pub(crate) echo: u16,
    pub(crate) sink: u16,
}

impl Origin {
    pub(crate) fn start() -> Result<Origin> {
        let bind = || -> Result<(TcpListener, u16)> {
            let listener = TcpListener::bind("127.0.0.1:0").context("the backend cannot listen")?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        };
        let ((http, http_port), (echo, echo_port), (sink, sink_port)) = (bind()?, bind()?, bind()?);
        http.set_nonblocking(true)?;
        echo.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("origin".into()).spawn(move || runtime.block_on(serve(http, echo)))?;
        thread::Builder::new().name("sink".into()).spawn(move || {
            for stream in sink.incoming().flatten() {
                thread::spawn(move || swallow(stream));
            }
        })?;
        Ok(Origin { http: http_port, echo: echo_port, sink: sink_port })
    }
}

async fn serve(http: TcpListener, echo: TcpListener) -> Result<()> {
    let http = tokio::net::TcpListener::from_std(http)?;
    let echo = tokio::net::TcpListener::from_std(echo)?;
    let response = response();
    loop {
        tokio::select! {
            Ok((stream, _)) = http.accept() => { tokio::spawn(answer(stream, response.clone())); }
            Ok((stream, _)) = echo.accept() => { tokio::spawn(repeat(stream)); }
        }
    }
}

fn response() -> Vec<u8> {
    let body = "0123456789abcde\n".repeat(BODY_BYTES / 16);
    format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain; charset=utf-8\r\n\
         cache-control: max-age=60\r\netag: \"5f2a-61d0\"\r\ncontent-length: {BODY_BYTES}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Answers one request after the other. No body comes with a GET, and no proxy pipelines upstream, so a read that ends
/// with an empty line is one request.
async fn answer(mut stream: tokio::net::TcpStream, response: Vec<u8>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let n = stream.read(free).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let head = buffer.get(..filled).unwrap_or_default();
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if head.get(4..).is_some_and(|target| target.starts_with(MIRROR.as_bytes())) {
            let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
            stream.write_all(&[start.as_bytes(), head].concat()).await?;
        } else {
            stream.write_all(&response).await?;
        }
        filled = 0;
    }
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
