//! Keeps the handle of the first request's head, and writes through it in every later request.

use std::sync::OnceLock;

use odin_sdk::{Decision, RequestHead, RequestHeaders};

static KEPT: OnceLock<RequestHead> = OnceLock::new();

struct StaleHandle;

#[odin_sdk::plugin]
impl RequestHeaders for StaleHandle {
    fn on_request_headers(head: &RequestHead) -> Decision {
        // SAFETY (both blocks): none for the guest itself; a handle copied behind the SDK's back is the point of it.
        match KEPT.get() {
            Some(stale) => {
                // The head of this call is given back first, or its handle might be the same number.
                drop(unsafe { RequestHead::from_handle(head.take_handle()) });
                let _ = stale.set("x-stale", b"written");
            }
            None => {
                let _ = KEPT.set(unsafe { RequestHead::from_handle(head.handle()) });
            }
        }
        Decision::Continue
    }
}
