//! One TCP connection, byte by byte: sends exactly what the test says and shows exactly what arrived.
//!
//! Knows just enough of HTTP/1.1 to find the end of a message. It never corrects, completes or hides anything.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::within;

/// How the peer ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a FIN.
    Closed,
    /// With a RST.
    Reset,
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    /// Where its framing said.
    Complete,
    /// At the end of the connection, and that is how it was framed.
    ByClose,
    /// At the end of the connection, too early.
    Truncated(Ending),
    /// Its chunks are not chunks.
    Malformed,
}

/// A start line and fields, as they arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// The request line or status line.
    pub start: String,
    /// Names as they came, values without the white space around them.
    pub fields: Vec<(String, String)>,
    /// The bytes, empty line included.
    pub raw: Vec<u8>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.raw))
    }
}

impl Head {
    /// Reads the bytes of one head; none when the lines are not start line and fields.
    pub fn parse(raw: &[u8]) -> Option<Head> {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
        let start = lines.next()?.to_string();
        let fields = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_string(), value.trim().to_string())))
            .collect::<Option<Vec<_>>>()?;
        Some(Head { start, fields, raw: raw.to_vec() })
    }

    /// The values of the field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of the field, or none.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came more than once: {self:?}");
        all.first().copied()
    }

    /// The status of a status line.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {self:?}"))
    }

    /// The method of a request line.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or("")
    }

    /// The target of a request line.
    pub fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }
}

/// A response and how its body ended.
#[derive(Debug, Clone)]
pub struct RawResponse {
    /// The final head.
    pub head: Head,
    /// The heads before it.
    pub interim: Vec<Head>,
    /// What arrived of the body, without chunk framing.
    pub body: Vec<u8>,
    /// The fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub end: BodyEnd,
}

/// A TCP connection with what was read but not asked for yet.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    ending: Option<Ending>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw::try_connect(address).await.unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Connects to a peer that may reset the connection so soon that the connect itself sees it.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Raw> {
        within("connect", TcpStream::connect(address)).await.map(Raw::new)
    }

    /// Connects and waits for the peer to end the connection without a word, however soon it does.
    pub async fn connect_and_end(address: SocketAddr) {
        if let Ok(mut raw) = Raw::try_connect(address).await {
            raw.ends().await;
        }
    }

    /// Takes over a connection.
    pub fn new(stream: TcpStream) -> Raw {
        let _ = stream.set_nodelay(true);
        Raw { stream, buffer: Vec::new(), ending: None }
    }

    /// Sends the bytes; a peer that is gone is no error here, the reading side will tell.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    /// Sends the bytes and says whether the peer was still there.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("send", self.stream.write_all(bytes.as_ref())).await
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection with a RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("a socket can be told to reset");
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The address of this side.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Reads more; false at the end of the connection.
    async fn fill(&mut self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        match within("read", self.stream.read_buf(&mut self.buffer)).await {
            Ok(0) => self.ending = Some(Ending::Closed),
            Ok(_) => return true,
            Err(_) => self.ending = Some(Ending::Reset),
        }
        false
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    /// Exactly so many bytes, or fewer when the connection ends before.
    pub async fn read(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length && self.fill().await {}
        let length = length.min(self.buffer.len());
        self.take(length)
    }

    /// What comes next without taking it: so many bytes, or fewer when the connection ends before. Safe to cancel.
    pub(crate) async fn peek(&mut self, length: usize) -> &[u8] {
        while self.buffer.len() < length && self.fill().await {}
        &self.buffer[..length.min(self.buffer.len())]
    }

    /// Whatever comes next, at least one byte; empty at the end of the connection.
    pub async fn read_some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        let length = self.buffer.len();
        self.take(length)
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> (Vec<u8>, Ending) {
        while self.fill().await {}
        let length = self.buffer.len();
        (self.take(length), self.ending.unwrap_or(Ending::Closed))
    }

    /// Fails unless the peer ends the connection now without sending anything more.
    #[track_caller]
    pub fn ends(&mut self) -> impl Future<Output = Ending> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let (rest, ending) = self.rest().await;
            assert!(rest.is_empty(), "{caller}: more came: {:?}", String::from_utf8_lossy(&rest));
            ending
        }
    }

    async fn find(&mut self, wanted: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.buffer.windows(wanted.len()).position(|window| window == wanted) {
                return Some(at + wanted.len());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next head; none at the end of the connection.
    #[track_caller]
    pub fn head(&mut self) -> impl Future<Output = Option<Head>> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let end = self.find(b"\r\n\r\n").await?;
            let raw = self.take(end);
            let shown = String::from_utf8_lossy(&raw).into_owned();
            Some(Head::parse(&raw).unwrap_or_else(|| panic!("{caller}: not a head: {shown:?}")))
        }
    }

    /// The next head, or the bytes where it should be; none at the end of the connection.
    pub async fn try_head(&mut self) -> Option<Result<Head, Vec<u8>>> {
        match self.find(b"\r\n\r\n").await {
            Some(end) => {
                let raw = self.take(end);
                Some(Head::parse(&raw).ok_or(raw))
            }
            None if self.buffer.is_empty() => None,
            None => Some(Err(std::mem::take(&mut self.buffer))),
        }
    }

    /// The body that follows `head`. `answers` is the method of the request that it answers, empty for a request.
    pub async fn body(&mut self, head: &Head, answers: &str) -> (Vec<u8>, Vec<(String, String)>, BodyEnd) {
        let response = head.start.starts_with("HTTP/");
        if response && (answers == "HEAD" || matches!(head.status(), 100..=199 | 204 | 304)) {
            return (Vec::new(), Vec::new(), BodyEnd::Complete);
        }
        if head.field("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        if let Some(length) = head.field("content-length") {
            let length: usize = length.parse().expect("the content-length is a number");
            let body = self.read(length).await;
            let end = match self.ending {
                Some(ending) if body.len() < length => BodyEnd::Truncated(ending),
                _ => BodyEnd::Complete,
            };
            return (body, Vec::new(), end);
        }
        if !response {
            return (Vec::new(), Vec::new(), BodyEnd::Complete);
        }
        let (body, ending) = self.rest().await;
        let end = if ending == Ending::Closed { BodyEnd::ByClose } else { BodyEnd::Truncated(ending) };
        (body, Vec::new(), end)
    }

    async fn chunks(&mut self) -> (Vec<u8>, Vec<(String, String)>, BodyEnd) {
        let mut body = Vec::new();
        let end = loop {
            let Some(end) = self.find(b"\r\n").await else { break None };
            let line = self.take(end);
            let digits = String::from_utf8_lossy(&line[..end - 2]).into_owned();
            let Ok(length) = usize::from_str_radix(digits.split(';').next().unwrap_or(""), 16) else {
                break Some(BodyEnd::Malformed);
            };
            if length == 0 {
                break Some(BodyEnd::Complete);
            }
            let piece = self.read(length + 2).await;
            let whole = piece.len() == length + 2;
            body.extend_from_slice(&piece[..piece.len().min(length)]);
            if !whole {
                break None;
            }
            if !piece.ends_with(b"\r\n") {
                break Some(BodyEnd::Malformed);
            }
        };
        let mut trailers = Vec::new();
        while end == Some(BodyEnd::Complete) {
            let Some(at) = self.find(b"\r\n").await else {
                return (body, trailers, BodyEnd::Truncated(self.ending.unwrap_or(Ending::Closed)));
            };
            let line = String::from_utf8_lossy(&self.take(at)[..at - 2]).into_owned();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            trailers.push((name.to_string(), value.trim().to_string()));
        }
        let end = end.unwrap_or(BodyEnd::Truncated(self.ending.unwrap_or(Ending::Closed)));
        (body, trailers, end)
    }

    /// The next response to a request with this method; none when the connection ends before its head is complete.
    pub async fn response(&mut self, method: &str) -> Option<RawResponse> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head().await?;
            match head.status() {
                101 | 200.. => break head,
                _ => interim.push(head),
            }
        };
        if head.status() == 101 {
            return Some(RawResponse { head, interim, body: Vec::new(), trailers: Vec::new(), end: BodyEnd::Complete });
        }
        let (body, trailers, end) = self.body(&head, method).await;
        Some(RawResponse { head, interim, body, trailers, end })
    }
}
