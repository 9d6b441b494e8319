//! HTTP/2 frame by frame (RFC 9113), for heads and bodies that no library would send. Either side.
//!
//! Fields are encoded as literals, never indexed and never compressed, so that any octet can be in them.

use std::net::SocketAddr;

use httlib_hpack::Decoder;

use crate::raw::Raw;

/// The first octets of a client.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113, section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The type.
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream.
    pub stream: u32,
    /// The content.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as they go into a header block.
pub type Fields<'a> = &'a [(&'a [u8], &'a [u8])];

/// A HEADERS frame that holds the whole block.
pub fn headers(stream: u32, fields: Fields<'_>, end_stream: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    frame(kind::HEADERS, END_HEADERS | if end_stream { END_STREAM } else { 0 }, stream, &block)
}

/// A DATA frame.
pub fn data(stream: u32, content: &[u8], end_stream: bool) -> Vec<u8> {
    frame(kind::DATA, if end_stream { END_STREAM } else { 0 }, stream, content)
}

/// A RST_STREAM frame.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(value as u8);
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push((value % 128 + 128) as u8);
        value /= 128;
    }
    block.push(value as u8);
}

/// How one exchange on one stream ended, as this side saw it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The fields of the final head, pseudo-fields included.
    pub head: Vec<(String, String)>,
    /// The body so far.
    pub body: Vec<u8>,
    /// The fields after the body.
    pub trailers: Vec<(String, String)>,
    /// Whether the peer ended the stream as it should.
    pub complete: bool,
    /// The code of a RST_STREAM.
    pub reset: Option<u32>,
    /// The code of a GOAWAY with an error.
    pub goaway: Option<u32>,
    /// Whether the connection ended.
    pub closed: bool,
}

impl Outcome {
    /// The value of `:status`.
    pub fn status(&self) -> Option<u16> {
        self.field(":status").and_then(|status| status.parse().ok())
    }

    /// The first value of the field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether the request was refused at the level of HTTP/2, without a response.
    pub fn is_broken_off(&self) -> bool {
        self.reset.is_some() || self.goaway.is_some() || (self.closed && !self.complete)
    }
}

/// One side of an HTTP/2 connection.
pub struct H2Raw {
    raw: Raw,
    decoder: Decoder<'static>,
}

impl H2Raw {
    /// Connects as a client and says hello.
    pub async fn client(address: SocketAddr) -> H2Raw {
        let mut raw = Raw::connect(address).await;
        raw.send([PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat()).await;
        H2Raw { raw, decoder: Decoder::default() }
    }

    /// Serves a connection: reads the client's hello and answers it. None when it does not speak HTTP/2.
    pub async fn server(raw: Raw) -> Option<H2Raw> {
        H2Raw::server_with(raw, &[]).await
    }

    /// As [`H2Raw::server`], with these settings in its hello (RFC 9113, section 6.5.1).
    pub async fn server_with(mut raw: Raw, settings: &[(u16, u32)]) -> Option<H2Raw> {
        if raw.read(PREFACE.len()).await != PREFACE {
            return None;
        }
        let payload = settings
            .iter()
            .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<u8>>());
        raw.send(frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())).await;
        Some(H2Raw { raw, decoder: Decoder::default() })
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.raw.send(bytes).await;
    }

    /// The connection beneath.
    pub fn raw(&mut self) -> &mut Raw {
        &mut self.raw
    }

    /// The next frame; SETTINGS and PING are acknowledged on the way. None at the end of the connection. Safe to cancel.
    pub async fn frame(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = self.raw.peek(9).await[..] else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if self.raw.peek(9 + length).await.len() < 9 + length {
            return None;
        }
        let payload = self.raw.read(9 + length).await.split_off(9);
        if matches!(kind, kind::SETTINGS | kind::PING) && flags & ACK == 0 {
            let echoed: &[u8] = if kind == kind::PING { &payload } else { &[] };
            self.raw.send(frame(kind, ACK, 0, echoed)).await;
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]), payload })
    }

    /// The fields of a HEADERS frame, with its CONTINUATION frames.
    async fn block(&mut self, first: Frame) -> Option<Vec<(String, String)>> {
        let (pad, skip) = (usize::from(first.flags & 0x8 != 0), if first.flags & 0x20 != 0 { 5 } else { 0 });
        let padding = if pad == 1 { usize::from(first.payload[0]) } else { 0 };
        let mut block = first.payload[pad + skip..first.payload.len() - padding].to_vec();
        let mut flags = first.flags;
        while flags & END_HEADERS == 0 {
            let next = self.frame().await?;
            assert_eq!(next.kind, kind::CONTINUATION, "a header block goes on with CONTINUATION");
            block.extend(&next.payload);
            flags = next.flags;
        }
        let mut decoded = Vec::new();
        self.decoder.decode(&mut block, &mut decoded).expect("the peer's header block can be decoded");
        let text = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
        Some(decoded.into_iter().map(|(name, value, _)| (text(name), text(value))).collect())
    }

    /// As a server: the head of the next request, its stream, and whether it has no body.
    pub async fn request(&mut self) -> Option<(u32, Vec<(String, String)>, bool)> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind::HEADERS {
                let (stream, end) = (frame.stream, frame.flags & END_STREAM != 0);
                return Some((stream, self.block(frame).await?, end));
            }
        }
    }

    /// As a client: everything that comes on the stream until it ends, in whichever way.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let Some(frame) = self.frame().await else {
                outcome.closed = true;
                return outcome;
            };
            let end_stream = frame.flags & END_STREAM != 0;
            match frame.kind {
                kind::HEADERS => {
                    let of_stream = frame.stream == stream;
                    let Some(fields) = self.block(frame).await else { continue };
                    let interim = fields.iter().any(|(n, v)| n == ":status" && v.starts_with('1'));
                    if !of_stream || interim {
                        continue;
                    }
                    if outcome.head.is_empty() {
                        outcome.head = fields
                    } else {
                        outcome.trailers = fields
                    }
                    outcome.complete = end_stream;
                }
                kind::DATA if frame.stream == stream => {
                    outcome.body.extend(&frame.payload);
                    let credit = (frame.payload.len() as u32).to_be_bytes();
                    if !frame.payload.is_empty() {
                        for target in [0, stream] {
                            self.raw.send(self::frame(kind::WINDOW_UPDATE, 0, target, &credit)).await;
                        }
                    }
                    outcome.complete = end_stream;
                }
                kind::RST_STREAM if frame.stream == stream => {
                    outcome.reset = Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                kind::GOAWAY => {
                    let code = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
                    outcome.goaway = Some(code).filter(|code| *code != 0);
                }
                _ => {}
            }
            if outcome.complete || outcome.is_broken_off() {
                return outcome;
            }
        }
    }
}
