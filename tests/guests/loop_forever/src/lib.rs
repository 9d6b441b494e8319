//! A request hook that never returns, and a `configure` that never does when its config is `"loop"`.

use odin_sdk::{Plugin, Request, Result};

struct LoopForever;

#[odin_sdk::plugin]
impl Plugin for LoopForever {
    type Config = Option<String>;

    fn new(config: Option<String>) -> Result<Self> {
        if config.as_deref() == Some("loop") { for_ever() } else { Ok(Self) }
    }

    fn on_request_headers(&self, _request: &Request) -> Result {
        for_ever()
    }
}

#[inline(never)]
#[allow(clippy::empty_loop, reason = "that is the test")]
fn for_ever() -> ! {
    loop {}
}
