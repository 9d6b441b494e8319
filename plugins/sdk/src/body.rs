//! The piece of a body, or of a TCP stream, that the running hook was called for. It holds no bytes: they stay with
//! the host until they are asked for.

use crate::host;

/// A piece of a body or of a TCP stream.
///
/// ```
/// # use odin_sdk::{Body, Piece, Result};
/// fn shout(body: &Body) -> Result<Piece> {
///     Ok(Piece::replace(body.bytes().to_ascii_uppercase()))
/// }
/// ```
#[derive(Debug)]
pub struct Body {
    len: u32,
    end: bool,
}

/// What is copied at once.
const PART: u32 = 64 << 10;

impl Body {
    pub(crate) fn new(len: u32, end: bool) -> Self {
        Self { len, end }
    }

    /// How many bytes the piece has. Asks nobody.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True for a piece without bytes, which may still be the last.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for the last piece: nothing follows.
    pub fn is_end(&self) -> bool {
        self.end
    }

    /// The whole piece, copied from the host. Large ones are copied part by part, because the host bounds what one
    /// call may copy (`host-allocation`); the plugin's memory bounds the whole.
    pub fn bytes(&self) -> Vec<u8> {
        if self.len <= PART {
            return if self.len == 0 { Vec::new() } else { host::body::read(0, self.len) };
        }
        let mut whole = Vec::with_capacity(self.len());
        for offset in (0..self.len).step_by(PART as usize) {
            whole.extend_from_slice(&host::body::read(offset, PART));
        }
        whole
    }

    /// The whole piece as text; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<String> {
        String::from_utf8(self.bytes()).ok()
    }

    /// So many bytes from this place on; fewer, or none, where the piece ends sooner.
    ///
    /// `let magic = body.read(0, 4);`
    pub fn read(&self, offset: u32, len: u32) -> Vec<u8> {
        host::body::read(offset, len)
    }
}
