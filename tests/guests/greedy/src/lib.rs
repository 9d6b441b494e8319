//! Makes the host work for it: asks for one field a hundred thousand times in a single call.

use odin_sdk::{Decision, Plugin, Request, Result};

#[derive(Default)]
struct Greedy;

#[odin_sdk::plugin]
impl Plugin for Greedy {
    fn on_request_headers(&self, _request: &Request) -> Result {
        let names = vec!["user-agent".to_owned(); 100_000];
        // Behind the SDK's back, whose list is an array on the stack.
        let values = odin_sdk::bindings::imports::request::get_many(&names);
        Ok(if values.len() == names.len() { Decision::reject("and got it") } else { Decision::Continue })
    }
}
