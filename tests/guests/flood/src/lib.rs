//! Logs in a loop: `x-lines` lines for each request, or a thousand.

use odin_sdk::{Decision, Plugin, Request, Result, info};

#[derive(Default)]
struct Flood;

#[odin_sdk::plugin]
impl Plugin for Flood {
    fn on_request_headers(&self, request: &Request) -> Result {
        for line in 0..request.get_as("x-lines").unwrap_or(1000) {
            info!("flood {line}");
        }
        Ok(Decision::Continue)
    }
}
