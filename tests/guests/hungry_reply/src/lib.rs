//! Replies with a huge body, which the host would have to copy: `x-size` bytes, or 8 MiB, about as much as fits into
//! the memory that a plugin has unless its config says otherwise.

use odin_sdk::{Plugin, Reply, Request, Result};

#[derive(Default)]
struct HungryReply;

#[odin_sdk::plugin]
impl Plugin for HungryReply {
    fn on_request_headers(&self, request: &Request) -> Result {
        let size = request.get_as("x-size").unwrap_or(8 << 20);
        Ok(Reply::new(200).with_body(vec![b'x'; size]).into())
    }
}
