//! Puts a digest of the request into `x-request-digest`, upstream and to the client: SHA-256, in lower-case hex, over
//! the tenant (`x-tenant-id`, else `unknown`), the method, the path, and the body if there is one.
//!
//! The head waits for the body, since the digest goes ahead of it. The same in the closure style is `decorated`.

use odin_sdk::context::Key;
use odin_sdk::{Body, BodyMode, Decision, Piece, Plugin, Request, Response, Result};
use sha2::{Digest, Sha256};

static DIGEST: Key<String> = Key::new("private:request-digest");

#[derive(Default)]
struct RequestDigest;

#[odin_sdk::plugin]
impl Plugin for RequestDigest {
    fn on_request_headers(&self, _request: &Request) -> Result {
        Ok(Decision::read(BodyMode::Hold))
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        let digest = digest(request, body);
        request.set("x-request-digest", &digest)?;
        DIGEST.set(&digest)?;
        Ok(Piece::Pass)
    }

    fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
        // There is none when a plugin before this one replied.
        if let Some(digest) = DIGEST.get() {
            response.set("x-request-digest", digest)?;
        }
        response.extend("x-ext-procs-applied", "digest")?;
        Ok(Decision::Continue)
    }
}

fn digest(request: &Request, body: &Body) -> String {
    let mut hash = Sha256::new();
    hash.update(request.get("x-tenant-id").unwrap_or_else(|| b"unknown".to_vec()));
    hash.update(request.method());
    hash.update(request.path());
    // In parts, so that a large body needs no large memory.
    for offset in (0..body.len() as u32).step_by(64 << 10) {
        hash.update(body.read(offset, 64 << 10));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Outcome};

    use super::*;

    const GET: &str = "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6";
    const PUT: &str = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";

    fn digests(outcome: &Outcome) -> (Option<&str>, Option<&str>) {
        (outcome.upstream().field("x-request-digest"), outcome.client.field("x-request-digest"))
    }

    #[test]
    fn a_request_without_a_body_is_head_alone() {
        let outcome = Exchange::new::<RequestDigest>(()).request("GET", "/something").run();
        assert_eq!(digests(&outcome), (Some(GET), Some(GET)));
        let post = Exchange::new::<RequestDigest>(()).request("POST", "/something").run();
        assert!(digests(&post).0.is_some_and(|digest| digest != GET), "{post:?}");
    }

    #[test]
    fn a_body_is_part_of_it_in_however_many_pieces_it_comes() {
        for pieces in [vec![r#"{"hello":"hi"}"#], vec![r#"{"hel"#, r#"lo":"hi"}"#]] {
            let outcome = Exchange::new::<RequestDigest>(()).request("PUT", "/something").body(pieces).run();
            assert_eq!(digests(&outcome), (Some(PUT), Some(PUT)));
            assert_eq!(outcome.upstream().text(), r#"{"hello":"hi"}"#);
        }
    }

    #[test]
    fn tenants_differ_and_large_bodies_are_read_whole() {
        let of = |tenant: &str, body: Vec<u8>| {
            let exchange = Exchange::new::<RequestDigest>(()).request("PUT", "/").field("x-tenant-id", tenant);
            let outcome = exchange.body([body]).run();
            digests(&outcome).0.map(str::to_owned)
        };
        let large = vec![b'x'; 200_000];
        let mut other = large.clone();
        other[199_999] = b'y';
        assert_ne!(of("a", large.clone()), of("b", large.clone()));
        assert_ne!(of("a", large), of("a", other));
    }
}
