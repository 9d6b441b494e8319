//! A TLS session as what carries a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::transport::conn::{ByteStream, Conn, Readable as _};

/// See the module. Its end is told to the peer (`close_notify`, RFC 8446, section 6.1), also when it is dropped.
pub(super) struct Secured {
    pub(super) tls: TlsStream<Conn>,
    /// The peer was told that no more comes, or it shall not be told.
    pub(super) ended: bool,
}

impl ByteStream for Secured {
    fn reset_on_drop(&mut self) {
        self.ended = true;
        match &mut self.tls {
            TlsStream::Client(tls) => tls.get_mut().0.reset_on_drop(),
            TlsStream::Server(tls) => tls.get_mut().0.reset_on_drop(),
        }
    }

    fn has_more(&self) -> bool {
        self.tls.get_ref().0.has_more()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut words = Vec::new();
        // Into memory, which does not fail.
        let conn = match &mut self.tls {
            TlsStream::Client(tls) => {
                let (conn, session) = tls.get_mut();
                session.send_close_notify();
                let _ = session.write_tls(&mut words);
                conn
            }
            TlsStream::Server(tls) => {
                let (conn, session) = tls.get_mut();
                session.send_close_notify();
                let _ = session.write_tls(&mut words);
                conn
            }
        };
        if let Some(socket) = conn.as_socket() {
            // A peer that takes nothing now learns from the end of the connection alone that it is over.
            let _ = socket.try_write(&words);
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, to)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }
}
