//! Reads HTTP/1.1 responses: no more than the benchmark's own clients need, with either framing of the body.
//!
//! A response that is not a whole 200 is an error; it must never pass for one.

use std::io::Read;

use anyhow::{Context, Result, bail};

/// Reads one response and shows its body piece by piece. The head must fit into `buffer`.
pub(crate) fn read(
    stream: &mut impl Read,
    buffer: &mut [u8],
    mut piece: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut filled = 0;
    let end = loop {
        filled += receive(stream, buffer.get_mut(filled..).unwrap_or_default())?;
        let so_far = buffer.get(..filled).unwrap_or_default();
        if let Some(end) = so_far.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let (head, rest) = buffer.get(..filled).unwrap_or_default().split_at(end);
    let head = std::str::from_utf8(head).context("the head is not text")?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        bail!("wanted a 200, but this came:\n{head}{}", String::from_utf8_lossy(rest));
    }
    let mut body = Body::of(&head)?;
    body.take(rest, &mut piece)?;
    while !body.is_over {
        let n = receive(stream, buffer)?;
        body.take(buffer.get(..n).unwrap_or_default(), &mut piece)?;
    }
    Ok(())
}

fn receive(stream: &mut impl Read, into: &mut [u8]) -> Result<usize> {
    if into.is_empty() {
        bail!("the head of the response is larger than the buffer for it");
    }
    match stream.read(into).context("the response stalled")? {
        0 => bail!("the connection ended inside of a response"),
        n => Ok(n),
    }
}

/// How far a body has come.
#[derive(Default)]
struct Body {
    is_chunked: bool,
    /// Bytes that are missing, of the body or of the chunk.
    missing: u64,
    /// What has come of the line between two chunks.
    line: Vec<u8>,
    /// The last chunk has come; trailers and an empty line follow.
    is_last: bool,
    is_over: bool,
}

impl Body {
    /// `head` in lower case.
    fn of(head: &str) -> Result<Body> {
        let value =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        match (value("content-length"), value("transfer-encoding")) {
            (Some(length), None) => {
                let missing = length.parse().context("a content-length that is no number")?;
                Ok(Body { missing, is_over: missing == 0, ..Body::default() })
            }
            (None, Some("chunked")) => Ok(Body { is_chunked: true, ..Body::default() }),
            _ => bail!("a response with no framing, or with two:\n{head}"),
        }
    }

    fn take(&mut self, mut bytes: &[u8], piece: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let [first, others @ ..] = bytes {
            if self.is_over {
                bail!("bytes came after the end of the response");
            }
            if self.missing > 0 {
                let n = bytes.len().min(usize::try_from(self.missing)?);
                let (data, after) = bytes.split_at(n);
                piece(data)?;
                self.missing -= n as u64;
                self.is_over = self.missing == 0 && !self.is_chunked;
                bytes = after;
                continue;
            }
            self.line.push(*first);
            bytes = others;
            if *first == b'\n' {
                self.end_of_line()?;
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<()> {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim();
        if self.is_last {
            self.is_over = line.is_empty();
        } else if !line.is_empty() {
            let size = line.split(';').next().unwrap_or_default();
            self.missing = u64::from_str_radix(size, 16).with_context(|| format!("`{line}` is no chunk size"))?;
            self.is_last = self.missing == 0;
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(framing: &str, raw: &[u8], step: usize) -> Result<Vec<u8>> {
        let mut body = Body::of(&format!("http/1.1 200 ok\r\n{framing}\r\n\r\n"))?;
        let mut seen = Vec::new();
        for piece in raw.chunks(step) {
            body.take(piece, &mut |data| {
                seen.extend_from_slice(data);
                Ok(())
            })?;
        }
        if !body.is_over {
            bail!("not over");
        }
        Ok(seen)
    }

    #[test]
    fn both_framings_give_the_body_however_it_is_cut() -> Result<()> {
        for step in 1..30 {
            assert_eq!(body_of("content-length: 7", b"a\r\n\r\nbc", step)?, b"a\r\n\r\nbc");
            let chunks = b"3\r\na\r\n\r\n00B;x=y\r\n0123456789a\r\n0\r\nt: v\r\n\r\n";
            assert_eq!(body_of("transfer-encoding: chunked", chunks, step)?, b"a\r\n0123456789a");
        }
        Ok(())
    }

    #[test]
    fn half_a_body_and_more_than_one_are_errors() {
        assert!(body_of("content-length: 3", b"ab", 9).is_err());
        assert!(body_of("content-length: 1", b"ab", 9).is_err());
        assert!(body_of("transfer-encoding: chunked", b"1\r\na\r\n", 9).is_err());
        assert!(body_of("transfer-encoding: chunked", b"x\r\n", 9).is_err());
        assert!(body_of("connection: close", b"", 9).is_err());
    }
}
