//! Refuses every config with words of its own; any request that reaches its hook shows that it was loaded all the same.

use odin_sdk::{Decision, Plugin, Request, Result};

struct RefuseConfig;

#[odin_sdk::plugin]
impl Plugin for RefuseConfig {
    type Config = serde_json::Value;

    fn new(config: serde_json::Value) -> Result<Self> {
        Err(format!("no config is good enough, least of all {config}"))?
    }

    fn on_request_headers(&self, _request: &Request) -> Result {
        Ok(Decision::reject("a refused plugin was called"))
    }
}
