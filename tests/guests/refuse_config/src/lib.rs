//! Refuses every config with words of its own; any request that reaches its hook shows that it was loaded all the same.

use odin_sdk::{Decision, Lifecycle, RequestHead, RequestHeaders};

struct RefuseConfig;

#[odin_sdk::plugin]
impl Lifecycle for RefuseConfig {
    fn configure(config: &str) -> Result<(), String> {
        Err(["no config is good enough, least of all ", config].concat())
    }
}

#[odin_sdk::plugin]
impl RequestHeaders for RefuseConfig {
    fn on_request_headers(_head: &RequestHead) -> Decision {
        Decision::reject("a refused plugin was called")
    }
}
