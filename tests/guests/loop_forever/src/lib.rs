//! A request hook that never returns, and a `configure` that never does when its config is `"loop"`.

use odin_sdk::{Decision, Lifecycle, RequestHead, RequestHeaders};

struct LoopForever;

#[odin_sdk::plugin]
impl Lifecycle for LoopForever {
    fn configure(config: &str) -> Result<(), String> {
        if config == "\"loop\"" { for_ever() } else { Ok(()) }
    }
}

#[odin_sdk::plugin]
impl RequestHeaders for LoopForever {
    fn on_request_headers(_head: &RequestHead) -> Decision {
        for_ever()
    }
}

#[inline(never)]
#[allow(clippy::empty_loop, reason = "that is the test")]
fn for_ever() -> ! {
    loop {}
}
