//! What comes next on a client's connection: a head, or something that has to be refused.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;

use crate::downstream::detect::ends;
use crate::downstream::handle::Handle;
use crate::downstream::http1::halves::{Halves, Inlet};
use crate::error::{Error, Kind};
use crate::http::http1::head::{HeadError, HeadScanner};
use crate::http::http1::reader::Reader;
use crate::http::http1::request::{self, RequestHead};
use crate::settings::Limits;
use crate::transport::conn::Readable as _;
use crate::transport::drain::Drain;
use crate::transport::timer::{Deadline, Elapsed};

/// Bytes of the start line of a refused request that the log tells.
const MAX_LOGGED: usize = 1024;

/// What came next on the connection.
pub(crate) enum Arrival {
    Head(RequestHead),
    /// With the start line, as far as it came.
    Refused(Error, Option<Box<str>>),
    Closed,
}

/// Waits for the next head. `first`: it is the first one of its connection, of which a byte is here, and whose deadline
/// has begun.
pub(crate) async fn next(
    halves: &Rc<Halves>,
    deadline: &mut Deadline,
    first: bool,
    handle: &Handle,
    drain: &Drain,
) -> Arrival {
    // Copies: an idle connection must not hold on to an old config.
    let (timeouts, limits) = {
        let listener = handle.current();
        (listener.snapshot.timeouts.clone(), listener.snapshot.limits.clone())
    };
    let mut scanner = HeadScanner::default();
    let (mut begun, mut blank_allowed) = (false, true);
    // The drain began while the response went out whose head had promised the connection: the client may use it once
    // more, and learns then that it ends.
    let promised = !first && drain.begun();
    if !first {
        deadline.begin(if promised { drain.patience() } else { Duration::ZERO });
        deadline.set(timeouts.idle);
    }
    poll_fn(|cx| {
        let Inlet { io, reader, .. } = &mut *halves.inlet.borrow_mut();
        loop {
            if blank_allowed && reader.buffer.starts_with(b"\r\n") {
                // One empty line before a request is an old client's habit (RFC 9112, section 2.2).
                reader.buffer.advance(2);
                blank_allowed = false;
            }
            if !reader.buffer.is_empty() && !std::mem::replace(&mut begun, true) && !first {
                deadline.begin(Duration::ZERO);
                deadline.set(timeouts.header);
            }
            if let Some(arrival) = next_head(&mut scanner, reader, &limits) {
                return Poll::Ready(arrival);
            }
            match reader.poll_fill(io, cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Arrival::Closed),
                Poll::Pending
                    if reader.buffer.is_empty() && (drain.over() || !promised && ends(drain)) && !io.has_more() =>
                {
                    return Poll::Ready(Arrival::Closed);
                }
                Poll::Pending => {
                    let late =
                        || Arrival::Refused(Error::new(Kind::HeaderTimeout, "incomplete head"), start(&reader.buffer));
                    return deadline.poll(cx).map(|Elapsed| if begun { late() } else { Arrival::Closed });
                }
            }
        }
    })
    .await
}

/// What the buffer begins with, once that is known.
fn next_head(scanner: &mut HeadScanner, reader: &mut Reader, limits: &Limits) -> Option<Arrival> {
    let buffer = &mut reader.buffer;
    if buffer.is_empty() || buffer.as_ref() == b"\r" {
        return None;
    }
    // TLS on a plain port, or noise: no need to wait for the end of a line.
    if !buffer[0].is_ascii_graphic() {
        return Some(Arrival::Refused(Error::new(Kind::MalformedRequest, "not HTTP"), None));
    }
    let (head, error) = match scanner.find_end(buffer, limits.head_bytes) {
        Ok(None) => return None,
        Ok(Some(end)) => {
            let head = buffer.split_to(end).freeze();
            match request::parse(head.clone(), limits.head_fields) {
                Ok(parsed) => return Some(Arrival::Head(parsed)),
                Err(error) => (start(&head), error),
            }
        }
        Err(error) => (start(buffer), error),
    };
    let kind = match error {
        HeadError::Malformed(_) => Kind::MalformedRequest,
        HeadError::TooLarge => Kind::HeadTooLarge,
        HeadError::Expectation => Kind::ExpectationFailed,
        HeadError::NotImplemented => Kind::NotImplemented,
    };
    Some(Arrival::Refused(Error::new(kind, error.to_string()), head))
}

/// The start line, as far as it came and as far as it is of use in a log.
fn start(head: &[u8]) -> Option<Box<str>> {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or(b"");
    let cut = &line[..line.len().min(MAX_LOGGED)];
    (!cut.is_empty()).then(|| String::from_utf8_lossy(cut).into())
}
