//! The digest of the request as `digest` makes it, in `x-request-digest` both ways, written with closures: the other
//! way to write a plugin, for those that fit on a page.

use odin_sdk::context::Key;
use odin_sdk::{BodyMode, Decision, Piece};
use sha2::{Digest, Sha256};

static DIGEST: Key<String> = Key::new("private:request-digest");

odin_sdk::hooks! {
    request_headers => |_request| Ok(Decision::read(BodyMode::Hold)),

    request_body => |request, body| {
        let mut hash = Sha256::new();
        hash.update(request.get("x-tenant-id").unwrap_or_else(|| b"unknown".to_vec()));
        hash.update(request.method());
        hash.update(request.path());
        hash.update(body.bytes());
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        request.set("x-request-digest", &digest)?;
        DIGEST.set(&digest)?;
        Ok(Piece::Pass)
    },

    response_headers => |response, _request| {
        if let Some(digest) = DIGEST.get() {
            response.set("x-request-digest", digest)?;
        }
        response.extend("x-ext-procs-applied", "decorated")?;
        Ok(Decision::Continue)
    },
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::Exchange;

    use super::*;

    #[test]
    fn the_digest_is_that_of_head_and_body() {
        let outcome = Exchange::new::<Hooks>(()).request("GET", "/something").run();
        let digest = "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6";
        assert_eq!(outcome.upstream().field("x-request-digest"), Some(digest));
        let outcome = Exchange::new::<Hooks>(()).request("PUT", "/something").body([r#"{"hello":"hi"}"#]).run();
        let digest = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";
        assert_eq!(outcome.client.field("x-request-digest"), Some(digest));
        assert_eq!(outcome.client.field("x-ext-procs-applied"), Some("decorated"));
    }
}
