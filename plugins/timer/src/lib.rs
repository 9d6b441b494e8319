//! Tells when the request began (`x-request-started`, RFC 3339 in UTC with microseconds), upstream and to the client,
//! and the client how long it took until the response's head (`x-duration-ns`).
//!
//! Both are facts that the host keeps for every exchange: no clock is asked for, and nothing need be remembered.

mod rfc3339;

use odin_sdk::{Decision, Plugin, Request, Response, Result, facts};

#[derive(Default)]
struct Timer;

#[odin_sdk::plugin]
impl Plugin for Timer {
    fn on_request_headers(&self, request: &Request) -> Result {
        request.set("x-request-started", started()?)?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
        let elapsed = facts::elapsed().ok_or("the host does not know how long it took")?;
        response.set("x-request-started", started()?)?;
        response.set("x-duration-ns", elapsed.as_nanos().to_string())?;
        response.extend("x-ext-procs-applied", "timer")?;
        Ok(Decision::Continue)
    }
}

fn started() -> Result<String> {
    Ok(rfc3339::format(facts::started().ok_or("the host does not know when it began")?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use odin_sdk::testing::{self, Exchange, Upstream};

    use super::*;

    #[test]
    fn beginning_and_duration_are_told() {
        testing::set_time(Duration::from_micros(1_767_225_600_000_042));
        let slow = |_: &_| {
            testing::advance(Duration::from_millis(3));
            Upstream::new(200)
        };
        let outcome = Exchange::new::<Timer>(()).upstream(slow).run();
        assert_eq!(outcome.upstream().field("x-request-started"), Some("2026-01-01T00:00:00.000042Z"));
        assert_eq!(outcome.client.field("x-request-started"), Some("2026-01-01T00:00:00.000042Z"));
        assert_eq!(outcome.client.field("x-duration-ns"), Some("3000000"));
        assert_eq!(outcome.client.field("x-ext-procs-applied"), Some("timer"));
    }
}
