//! Bodies for both sides: fixed, streamed by hand, with trailers, and long ones whose every byte is known.
//!
//! Never holds a long body in memory: a GiB is made and checked piece by piece.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Any body.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// The error of a body that the test breaks off.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off by the test")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// No body at all.
pub fn empty() -> Body {
    Empty::new().map_err(Broken::from).boxed_unsync()
}

/// A body with a known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(Broken::from).boxed_unsync()
}

/// Pieces of unknown total length, then trailers.
pub fn with_trailers(pieces: &[&str], trailers: &[(&'static str, &'static str)]) -> Body {
    let mut frames: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, Broken>(Frame::data(Bytes::copy_from_slice(piece.as_bytes())))).collect();
    let fields: HeaderMap = trailers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
    frames.push(Ok(Frame::trailers(fields)));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// Feeds a body by hand; dropping it ends the body.
pub struct BodySender(mpsc::Sender<Result<Frame<Bytes>, Broken>>);

impl BodySender {
    /// Sends one piece; false when nobody reads the body any more.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(piece.into()))).await.is_ok()
    }

    /// Ends the body with an error: the message stays incomplete.
    pub async fn break_off(self) {
        let _ = self.0.send(Err(Broken)).await;
    }
}

/// A body and the hand that feeds it. Holds at most one piece.
pub fn by_hand() -> (BodySender, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (BodySender(sender), StreamBody::new(pieces).boxed_unsync())
}

const PIECE: usize = 64 * 1024;

/// The `n`-th piece of the endless known content: every piece differs from its neighbours.
fn piece(n: u64) -> Bytes {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; PIECE];
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    Bytes::from(bytes)
}

/// `length` bytes of known content, piece by piece.
pub fn pieces(length: u64) -> impl Iterator<Item = Bytes> + Send {
    // A few hundred different pieces in turn: making them anew would cost more than moving them.
    let prepared: Vec<Bytes> = (0..251).map(piece).collect();
    let whole = length.div_ceil(PIECE as u64);
    (0..whole).map(move |n| {
        let bytes = &prepared[(n % 251) as usize];
        let left = length - n * PIECE as u64;
        bytes.slice(..(left.min(PIECE as u64) as usize))
    })
}

/// The known content as a body of unknown length.
pub fn long(length: u64) -> Body {
    let frames = pieces(length).map(|bytes| Ok::<_, Broken>(Frame::data(bytes)));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// The SHA-256 of the known content.
pub fn long_digest(length: u64) -> String {
    let mut hash = Sha256::new();
    pieces(length).for_each(|bytes| hash.update(&bytes));
    hex(&hash.finalize())
}

/// Length and SHA-256 of a body, read piece by piece.
pub async fn digest<B>(mut body: B) -> Result<(u64, String), B::Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (mut length, mut hash) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            length += data.len() as u64;
            hash.update(&data);
        }
    }
    Ok((length, hex(&hash.finalize())))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
