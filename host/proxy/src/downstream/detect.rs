//! Which protocol a new connection speaks, told by its first bytes.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

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
    /// A ClientHello begins.
    Tls,
    /// Anything else, or nothing in time.
    Other,
}

/// What a listener that tells protocols apart has a use for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offers {
    pub(crate) http: bool,
    pub(crate) tls: bool,
    /// Where everything else goes; else it is closed.
    pub(crate) other: bool,
    /// How long a client may take to say what it speaks, if there is somewhere else to go.
    pub(crate) timeout: Duration,
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

/// Reads until it is known which of several protocols it is. None when the client has gone, says nothing in time where
/// nothing else is served, or when the drain ends it.
pub(crate) async fn detect_any(new: &mut NewConnection, offers: Offers, drain: &Drain) -> Option<Detected> {
    let NewConnection { conn, reader, deadline } = new;
    let mut silent = Deadline::default();
    if offers.other {
        silent.set(offers.timeout);
    }
    poll_fn(|cx| {
        loop {
            if let Some(protocol) = told_of_all(&reader.buffer, offers) {
                return Poll::Ready(Some(protocol));
            }
            // Of what may be HTTP the HTTP/1 server finds out that it ended, or that it is late.
            let nothing = reader.buffer.is_empty();
            let unfinished = match offers.other {
                true => Some(Detected::Other),
                false => (!nothing).then_some(Detected::Http1),
            };
            match reader.poll_fill(conn, cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(Ok(_)) => return Poll::Ready(unfinished),
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if nothing && ends(drain) && !conn.has_more() => return Poll::Ready(None),
                Poll::Pending if silent.poll(cx).is_ready() => return Poll::Ready(unfinished),
                Poll::Pending => return deadline.poll(cx).map(|Elapsed| unfinished),
            }
        }
    })
    .await
}

/// What begins every record of a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// The longest method that is taken for one; the longest that is registered has 17 bytes.
const LONGEST_METHOD: usize = 32;

/// None while it cannot be known. HTTP/1 begins with a method and a space. A method is of capital letters and `-` here, as
/// all that are registered: other protocols send a word and a space as well, such as SSH its version.
fn told_of_all(bytes: &[u8], offers: Offers) -> Option<Detected> {
    if *bytes.first()? == TLS_HANDSHAKE && (offers.tls || !offers.other) {
        return Some(Detected::Tls);
    }
    if !offers.http {
        return Some(Detected::Other);
    }
    if HTTP2_PREFACE.starts_with(bytes) || bytes.starts_with(HTTP2_PREFACE) {
        return told_by(bytes);
    }
    let method = bytes.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
    match method {
        Some(1..=LONGEST_METHOD) if method.is_some_and(|end| bytes[end] == b' ') => Some(Detected::Http1),
        None if bytes.len() <= LONGEST_METHOD => None,
        _ => Some(Detected::Other),
    }
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

    #[test]
    fn one_port_tells_all_protocols_apart_as_soon_as_it_can() {
        let all = Offers { http: true, tls: true, other: true, timeout: Duration::ZERO };
        let cases: [(&[u8], Option<Detected>); 22] = [
            (b"", None),
            (b"\x16", Some(Detected::Tls)),
            (b"\x16\x03\x01\x02", Some(Detected::Tls)),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (HTTP2_PREFACE, Some(Detected::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"GET", None),
            (b"GET ", Some(Detected::Http1)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"BASELINE-CONTROL / HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"POST / HTTP/1.1\r\n\r\n", Some(Detected::Http1)),
            (b" GET / HTTP/1.1\r\n", Some(Detected::Other)),
            (b"get / HTTP/1.1\r\n", Some(Detected::Other)),
            (b"\r\nGET / HTTP/1.1\r\n", Some(Detected::Other)),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Some(Detected::Other)),
            (b"PING\r\n", Some(Detected::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Detected::Other)),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Some(Detected::Other)),
            (b"\x15\x03\x01\x00\x02", Some(Detected::Other)),
            (&[b'A'; LONGEST_METHOD], None),
            (&[b'A'; LONGEST_METHOD + 1], Some(Detected::Other)),
        ];
        for (bytes, told) in cases {
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(told_of_all(bytes, all), told, "{shown:?}");
            // What is not served is other than what is.
            let (no_http, no_tls) = (Offers { http: false, ..all }, Offers { tls: false, ..all });
            let other = |told: Option<Detected>, gone: &[Detected]| match told {
                Some(told) if gone.contains(&told) => Some(Detected::Other),
                told => told,
            };
            if !bytes.is_empty() {
                let without = told_of_all(bytes, no_http).filter(|told| *told != Detected::Tls);
                assert!(without.is_none_or(|told| told == Detected::Other), "{shown:?}");
            }
            assert_eq!(told_of_all(bytes, no_tls), other(told, &[Detected::Tls]), "{shown:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_client_is_waited_for_where_it_has_somewhere_to_go() {
        let offers = Offers { http: true, tls: true, other: true, timeout: Duration::from_millis(20) };
        let closed = Offers { other: false, ..offers };
        let cases: [(&[u8], bool, Offers, Option<Detected>); 8] = [
            (b"", false, offers, Some(Detected::Other)),
            (b"", true, offers, Some(Detected::Other)),
            (b"GE", false, offers, Some(Detected::Other)),
            (b"GE", true, offers, Some(Detected::Other)),
            (b"", false, closed, None),
            (b"", true, closed, None),
            (b"GE", false, closed, Some(Detected::Http1)),
            (b"GE", true, closed, Some(Detected::Http1)),
        ];
        for (sent, ends, offers, told) in cases {
            let (mut client, conn) = pair(64);
            let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
            new.deadline.set(Duration::from_millis(100));
            client.write_all(sent).await.unwrap();
            if ends {
                client.shutdown().await.unwrap();
            }
            assert_eq!(detect_any(&mut new, offers, &Drain::default()).await, told, "{sent:?} {ends}");
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
