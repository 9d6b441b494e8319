//! Makes an outbound call before the request goes on: to the cluster in `x-call`, path in `x-call-path`, with the
//! timeout in `x-call-timeout-ms`, `x-call-times` times.
//!
//! `x-called` on the request is the last answer's status or the error's name; `x-called-body` its body. With
//! `x-call-nested` the call carries `x-call` itself, so that a route with this plugin calls in turn.

use std::time::Duration;

use odin_sdk::{Decision, Plugin, Request, Result, outbound};

#[derive(Default)]
struct Caller;

#[odin_sdk::plugin]
impl Plugin for Caller {
    fn on_request_headers(&self, request: &Request) -> Result {
        let Some(cluster) = request.get_str("x-call") else {
            return Ok(Decision::Continue);
        };
        let path = request.get_str("x-call-path").unwrap_or_else(|| "/".to_owned());
        let mut call = outbound::Request::get(&cluster, &path).with_field("x-from", "caller");
        if let Some(milliseconds) = request.get_as("x-call-timeout-ms") {
            call = call.with_timeout(Duration::from_millis(milliseconds));
        }
        if request.has("x-call-nested") {
            call = call.with_field("x-call", cluster.as_str()).with_field("x-call-nested", "yes");
        }
        for _ in 0..request.get_as("x-call-times").unwrap_or(1) {
            match call.send() {
                Ok(answer) => {
                    request.set("x-called", answer.status.to_string())?;
                    let line = answer.text().unwrap_or_default().lines().next().unwrap_or_default();
                    request.set("x-called-body", line)?;
                }
                Err(error) => request.set("x-called", error.name())?,
            }
        }
        Ok(Decision::Continue)
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::Reply;
    use odin_sdk::testing::{self, Exchange};

    use super::*;

    #[test]
    fn the_answer_or_the_error_goes_upstream() {
        let called = || {
            let exchange = Exchange::new::<Caller>(()).field("x-call", "auth").field("x-call-timeout-ms", "50");
            exchange.run().upstream().field("x-called").map(str::to_owned)
        };
        assert_eq!(called().as_deref(), Some("not-granted"));
        testing::outbound(|call| match call.timeout() {
            Some(_) => Ok(Reply::new(204)),
            None => Err(outbound::OutboundError::Timeout),
        });
        assert_eq!(called().as_deref(), Some("204"));
    }
}
