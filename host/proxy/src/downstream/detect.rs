//! Which protocol a new connection speaks, told by its first bytes.

use std::future::poll_fn;
use std::task::Poll;

use crate::http::http1::reader::Reader;
use crate::transport::conn::{Conn, Readable as _};
use crate::transport::drain::Drain;
use crate::transport::timer::{Deadline, Elapsed};

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detected {
    /// Or nothing that Odin knows: the HTTP/1 server refuses that.
    Http1,
    /// With prior knowledge.
    Http2,
}

/// A new connection, with what was read of it.
pub(crate) struct NewConnection {
    pub(crate) conn: Conn,
    pub(crate) reader: Reader,
    /// By then the first head must be here.
    pub(crate) deadline: Deadline,
}

/// Reads until the protocol is known. None when the client has gone or says nothing in time, or when the drain ends it.
pub(crate) async fn detect(new: &mut NewConnection, drain: &Drain) -> Option<Detected> {
    let NewConnection { conn, reader, deadline } = new;
    poll_fn(|cx| {
        loop {
            if let Some(protocol) = told_by(&reader.buffer) {
                return Poll::Ready(Some(protocol));
            }
            // Of what is not a whole preface the HTTP/1 server finds out that it ended, or that it is late.
            let unfinished = (!reader.buffer.is_empty()).then_some(Detected::Http1);
            match reader.poll_fill(conn, cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(unfinished),
                Poll::Pending if unfinished.is_none() && ends(drain) && !conn.has_more() => return Poll::Ready(None),
                Poll::Pending => return deadline.poll(cx).map(|Elapsed| unfinished),
            }
        }
    })
    .await
}

/// None while it cannot be known.
fn told_by(bytes: &[u8]) -> Option<Detected> {
    let compared = bytes.len().min(HTTP2_PREFACE.len());
    match bytes[..compared] == HTTP2_PREFACE[..compared] {
        true if compared == HTTP2_PREFACE.len() => Some(Detected::Http2),
        true => None,
        false => Some(Detected::Http1),
    }
}

/// A connection without a request ends now.
pub(crate) fn ends(drain: &Drain) -> bool {
    drain.over() || drain.ends_idle()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::transport::pair::pair;

    #[test]
    fn a_protocol_is_told_as_soon_as_it_can_be() {
        assert_eq!((told_by(b""), told_by(b"P"), told_by(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r")), (None, None, None));
        assert_eq!(told_by(HTTP2_PREFACE), Some(Detected::Http2));
        assert_eq!(told_by(&[HTTP2_PREFACE, b"more"].concat()), Some(Detected::Http2));
        for http1 in [&b"G"[..], b"PO", b"PRI * HTTP/2.1", b"\r\n", b"\x16\x03"] {
            assert_eq!(told_by(http1), Some(Detected::Http1), "{http1:?}");
        }
    }

    /// What is detected of a client that sends this byte by byte, and then ends, or says no more in time.
    async fn detected(sent: &[u8], ends: bool) -> Option<Detected> {
        let (mut client, conn) = pair(1);
        let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
        if !ends {
            new.deadline.set(Duration::from_millis(50));
        }
        let drain = Drain::default();
        let says = async {
            client.write_all(sent).await.unwrap();
            if ends {
                client.shutdown().await.unwrap();
            }
            std::future::pending().await
        };
        tokio::select! {
            detected = detect(&mut new, &drain) => detected,
            () = says => None,
        }
    }

    #[tokio::test]
    async fn a_client_that_ends_or_is_late_has_said_what_it_has_said() {
        assert_eq!(detected(HTTP2_PREFACE, true).await, Some(Detected::Http2));
        assert_eq!(detected(b"GET / HTTP/1.1\r\n\r\n", true).await, Some(Detected::Http1));
        for ends in [true, false] {
            assert_eq!(detected(b"PRI *", ends).await, Some(Detected::Http1));
            assert_eq!(detected(b"", ends).await, None);
        }
    }
}
