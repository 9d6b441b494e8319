//! One request through a proxy that has just started, looked at on both ends, so that none is measured doing less than it
//! should.
//!
//! An answer that is not what the case wants is an error; it must say what came instead.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::odin::PROCESSORS;
use super::{Kind, Setup};
use crate::case::{Shape, Variant};
use crate::load::{BODY, BODY_TYPE, download};
use crate::origin::MIRROR;

/// SHA-256 of tenant, method, path and body: `unknown`, `PUT`, `MIRROR`, `BODY`.
const DIGEST: &str = "x-request-digest: 69a098a13664d669e1c9f51e80639ec23304eaaf0c4a2a01f66916ae4aba38ad\r\n";

/// Asks once for what the case is about.
pub(super) fn serves(kind: Kind, setup: &Setup) -> Result<()> {
    match (setup.shape, setup.variant) {
        (Shape::Download, _) => download::check(setup.listen),
        (Shape::Http1 | Shape::Ports, variant) => fields(kind, variant, setup.listen),
        // Their loads check every answer themselves.
        (Shape::Http2 | Shape::Https | Shape::TcpBulk | Shape::TcpSmall | Shape::TlsBulk, _) => Ok(()),
    }
}

/// Asks for the request as the backend saw it.
fn fields(kind: Kind, variant: Variant, port: u16) -> Result<()> {
    let (method, body) = match variant {
        Variant::Digest => ("PUT", format!("{BODY_TYPE}\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())),
        _ => ("GET", "\r\n".to_owned()),
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "{method} {MIRROR} HTTP/1.1\r\nhost: bench\r\nuser-agent: check\r\nconnection: close\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no whole answer came")?;
    let answer = answer.to_ascii_lowercase();
    let (response, request) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    // The last line of the head too ends with a line break now.
    let response = format!("{response}\r\n");

    let (in_request, in_response): (&[&str], &[&str]) = match (variant, kind) {
        (Variant::Bare | Variant::Pass, _) => (&[], &[]),
        (Variant::Plugin | Variant::Chain | Variant::Fresh, _) => (&["x-odin: seen"], &["x-odin-response: yes"]),
        (Variant::Forwarded, _) => {
            (&["forwarded: for=127.0.0.1;", "x-forwarded-for: 127.0.0.1", "x-request-id: ", "via: 1.1 "], &["via: "])
        }
        (Variant::Digest, Kind::Odin) => (
            &[DIGEST, "x-extra-request-id: ", "x-request-started: ", "x-context-id:"],
            &[DIGEST, "x-extra-request-id: ", "x-request-started: ", "x-duration-ns: "],
        ),
        (Variant::Digest, _) => (&[DIGEST], &[DIGEST]),
    };
    let all = |there: &str, wanted: &[&str]| wanted.iter().all(|w| there.contains(&format!("\r\n{w}")));
    if !response.starts_with("http/1.1 200") || !all(request, in_request) || !all(&response, in_response) {
        bail!("wanted 200 with {in_response:?} and a request with {in_request:?}, but this came:\n{answer}");
    }
    if variant == Variant::Digest {
        let names = if kind == Kind::Odin { &PROCESSORS[..] } else { &["digest"] };
        applied(&response, names)?;
    }
    Ok(())
}

/// Sees that all of the processors say that they took part.
fn applied(response: &str, names: &[&str]) -> Result<()> {
    let said = response.lines().filter_map(|line| line.strip_prefix("x-ext-procs-applied:"));
    let said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    if let Some(missing) = names.iter().find(|name| !said.contains(name)) {
        bail!("`{missing}` did not take part; x-ext-procs-applied says {said:?}");
    }
    Ok(())
}
