//! Makes the host work for it: asks for one field a hundred thousand times in a single call.

use odin_sdk::{Decision, RequestHead, RequestHeaders};

struct Greedy;

#[odin_sdk::plugin]
impl RequestHeaders for Greedy {
    fn on_request_headers(head: &RequestHead) -> Decision {
        let names = vec!["user-agent".to_owned(); 100_000];
        if head.get_many(&names).len() == names.len() { Decision::reject("and got it") } else { Decision::Continue }
    }
}
