//! Fills the context past its share of the limits and reports in fields how far it came.
//!
//! `x-hog-values`: how many small values went in; `x-hog-bytes`: how many of a hundred values of a kilobyte, in the
//! context of the connection; both with the word that ended it.

use odin_sdk::{Decision, Plugin, Request, Result, context};

#[derive(Default)]
struct ContextHog;

#[odin_sdk::plugin]
impl Plugin for ContextHog {
    fn on_request_headers(&self, request: &Request) -> Result {
        let values = fill(1000, |index| context::set(&format!("hog-{index}"), true));
        request.set("x-hog-values", values)?;
        let big = "x".repeat(1024);
        let bytes = fill(100, |index| context::set_on_connection(&format!("hog-{index}"), big.as_str()));
        request.set("x-hog-bytes", bytes)?;
        Ok(Decision::Continue)
    }
}

/// How many went in, and why no more.
fn fill(count: u32, set: impl Fn(u32) -> Result<(), context::ContextError>) -> String {
    for index in 0..count {
        if let Err(error) = set(index) {
            return format!("{index} {}", error.name());
        }
    }
    format!("{count} all")
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::Exchange;

    use super::*;

    #[test]
    fn the_limits_hold() {
        let outcome = Exchange::new::<ContextHog>(()).run();
        assert_eq!(outcome.upstream().field("x-hog-values"), Some("32 over-share"));
        assert_eq!(outcome.upstream().field("x-hog-bytes"), Some("31 over-share"));
    }
}
