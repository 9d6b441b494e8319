//! The write side of a connection, and the pump that moves a body into it with backpressure.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use crate::error::{Error, Kind};
use crate::http::http1::chunked::is_forbidden_trailer;
use crate::http::http1::encode;

/// Pieces up to this size are copied beside the head, so that one write carries both.
const COPY_LIMIT: usize = 8 * 1024;
/// Above this the body is not asked for more until some of it is written.
const HIGH_WATER: usize = 32 * 1024;

/// Bytes that were made and not yet written: encoded ones, then one large piece, then what ends its chunk.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    encoded: Vec<u8>,
    written: usize,
    data: Bytes,
    tail: &'static [u8],
    /// The stream below may still hold some of what it took.
    unflushed: bool,
    /// Bytes written since the connection began.
    sent: u64,
}

/// A place in what is being written.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    sent: u64,
    encoded: usize,
}

impl Writer {
    /// Where heads are encoded. Only when [`Writer::has_room`].
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.encoded
    }

    /// Everything is on its way to the peer.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_bytes() && !self.unflushed
    }

    fn has_bytes(&self) -> bool {
        self.written < self.encoded.len() || !self.data.is_empty() || !self.tail.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.encoded.len() - self.written < HIGH_WATER
    }

    /// Where the next byte will stand: for [`Writer::take_back`].
    pub(crate) fn position(&self) -> Position {
        Position { sent: self.sent, encoded: self.encoded.len() }
    }

    /// Takes back everything from `position` on. False when a byte has been written since.
    pub(crate) fn take_back(&mut self, position: Position) -> bool {
        let whole = self.sent == position.sent;
        if whole {
            self.encoded.truncate(position.encoded);
            (self.data, self.tail) = (Bytes::new(), b"");
        }
        whole
    }

    fn push(&mut self, data: Bytes, chunked: bool) {
        if chunked {
            encode::chunk_size(&mut self.encoded, data.len());
        }
        let tail: &'static [u8] = if chunked { b"\r\n" } else { b"" };
        if data.len() <= COPY_LIMIT {
            self.encoded.extend_from_slice(&data);
            self.encoded.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
    }

    /// Ends a chunked body, behind whatever still waits to be written.
    fn end_chunks(&mut self, trailers: &HeaderMap) {
        if self.data.is_empty() {
            encode::last_chunk(&mut self.encoded, trailers);
        } else {
            // The end was known with the last data, so there are no trailers: those come in a frame of their own.
            self.tail = b"\r\n0\r\n\r\n";
        }
    }

    /// Bytes written since the connection began.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes until nothing is left, here and in the stream.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.has_bytes() {
            let head = &self.encoded[self.written..];
            let written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, head))?
            } else {
                let slices = [IoSlice::new(head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.encoded.clear();
        self.written = 0;
        // What a burst made large is given back.
        if self.encoded.capacity() > 2 * HIGH_WATER {
            self.encoded.shrink_to(HIGH_WATER);
        }
        // A socket keeps nothing; a TLS session may, and goes on only when it is asked again.
        self.unflushed = true;
        ready!(Pin::new(io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.sent += written as u64;
        let step = written.min(self.encoded.len() - self.written);
        self.written += step;
        written -= step;
        let step = written.min(self.data.len());
        self.data.advance(step);
        written -= step;
        self.tail = &self.tail[written..];
    }
}

/// How a body that is being written is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// No body follows the head.
    None,
    /// So many bytes are still to be written.
    Length(u64),
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
}

/// Why the pump stopped.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The body failed where it comes from.
    Source(Error),
    /// The connection that it goes to failed.
    Sink,
}

/// Moves one body into one connection.
#[derive(Debug)]
pub(crate) struct Pump {
    encoding: Encoding,
    finished: bool,
    /// Bytes of the body taken from its source.
    pub(crate) taken: u64,
    /// Grows with everything that happens: unchanged means stalled.
    pub(crate) progress: u64,
}

impl Pump {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Pump { encoding, finished: encoding == Encoding::None, taken: 0, progress: 0 }
    }

    /// Goes on until the body is written whole.
    pub(crate) fn poll<B>(
        &mut self,
        body: &mut B,
        writer: &mut Writer,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PumpError>>
    where
        B: http_body::Body<Data = Bytes, Error = Error> + Unpin,
    {
        loop {
            let mut waits = false;
            while !self.finished && !waits && writer.has_room() {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame, body, writer).map_err(PumpError::Source)?,
                    Poll::Pending => waits = true,
                }
            }
            if !writer.is_empty() {
                ready!(writer.poll_flush(io, cx)).map_err(|_| PumpError::Sink)?;
                self.progress += 1;
            }
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    fn take<B>(
        &mut self,
        frame: Option<Result<http_body::Frame<Bytes>, Error>>,
        body: &B,
        writer: &mut Writer,
    ) -> Result<(), Error>
    where
        B: http_body::Body<Data = Bytes, Error = Error> + Unpin,
    {
        self.progress += 1;
        let Some(frame) = frame.transpose()? else { return self.finish(None, writer) };
        match frame.into_data() {
            Ok(data) => {
                self.taken += data.len() as u64;
                if let Encoding::Length(left) = &mut self.encoding {
                    *left = left.checked_sub(data.len() as u64).ok_or_else(|| length_mismatch("longer"))?;
                }
                if !data.is_empty() {
                    writer.push(data, self.encoding == Encoding::Chunked);
                }
                // Known to be the end: the last chunk goes out in the same write.
                if body.is_end_stream() { self.finish(None, writer) } else { Ok(()) }
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => self.finish(Some(trailers), writer),
                Err(_) => Ok(()),
            },
        }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>, writer: &mut Writer) -> Result<(), Error> {
        self.finished = true;
        match self.encoding {
            Encoding::Length(left) if left > 0 => return Err(length_mismatch("shorter")),
            Encoding::Chunked => {
                let mut trailers = trailers.unwrap_or_default();
                let forbidden: Vec<_> = trailers.keys().filter(|name| is_forbidden_trailer(name)).cloned().collect();
                for name in forbidden {
                    trailers.remove(name);
                }
                writer.end_chunks(&trailers);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The other side of the exchange said one length and sent another.
fn length_mismatch(how: &'static str) -> Error {
    Error::new(Kind::MalformedResponse, format!("the body is {how} than its Content-Length"))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::http::body::Body;

    /// Takes everything, and passes on a byte each time that it is flushed, as a TLS session with a full socket below.
    #[derive(Default)]
    struct Holding {
        held: Vec<u8>,
        passed: Vec<u8>,
    }

    impl AsyncWrite for Holding {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let byte = self.held.remove(0);
            self.passed.push(byte);
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_body_is_written_when_the_stream_has_passed_it_on() {
        let (mut writer, mut out) = (Writer::default(), Holding::default());
        let mut pump = Pump::new(Encoding::Length(5));
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = Body::Full(Bytes::from_static(b"whole"), None);
        for _ in 0..5 {
            assert!(pump.poll(&mut body, &mut writer, &mut out, &mut cx).is_pending());
            assert!(!writer.is_empty());
        }
        assert!(matches!(pump.poll(&mut body, &mut writer, &mut out, &mut cx), Poll::Ready(Ok(()))));
        assert!(writer.is_empty() && out.passed == b"whole");
    }

    #[test]
    fn the_last_chunk_comes_behind_the_data_whatever_its_size() {
        for size in [1, COPY_LIMIT, COPY_LIMIT + 1, 10 * COPY_LIMIT] {
            let (mut writer, mut out) = (Writer::default(), Vec::new());
            let data = vec![b'z'; size];
            let mut pump = Pump::new(Encoding::Chunked);
            let mut cx = Context::from_waker(Waker::noop());
            // A piece that is known to be the last one.
            let mut body = Body::Full(data.clone().into(), None);
            assert!(matches!(pump.poll(&mut body, &mut writer, &mut out, &mut cx), Poll::Ready(Ok(()))));
            let mut wanted = format!("{size:x}\r\n").into_bytes();
            wanted.extend_from_slice(&data);
            wanted.extend_from_slice(b"\r\n0\r\n\r\n");
            assert!(out == wanted, "{size}");
        }
    }
}
