//! The hooks: their names for people, and where a component exports them. Must never know how one is called.

use std::fmt;

/// Which hooks a plugin exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `lifecycle.configure`
    pub lifecycle: bool,
    /// `request-headers.on-request-headers`
    pub request_headers: bool,
    /// `request-body.on-request-body`
    pub request_body: bool,
    /// `request-trailers.on-request-trailers`
    pub request_trailers: bool,
    /// `response-headers.on-response-headers`
    pub response_headers: bool,
    /// `response-body.on-response-body`
    pub response_body: bool,
    /// `response-trailers.on-response-trailers`
    pub response_trailers: bool,
    /// `exchange-end.on-exchange-end`
    pub exchange_end: bool,
    /// `balancer.pick`
    pub balancer: bool,
    /// `connection.on-connect` and `connection.on-close`
    pub connection: bool,
    /// `downstream-data.on-downstream-data`
    pub downstream_data: bool,
    /// `upstream-data.on-upstream-data`
    pub upstream_data: bool,
    /// `steer.weigh`
    pub steer: bool,
}

/// A hook, as named in errors, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `lifecycle.configure`
    Configure,
    /// `request-headers.on-request-headers`
    RequestHeaders,
    /// `request-body.on-request-body`
    RequestBody,
    /// `request-trailers.on-request-trailers`
    RequestTrailers,
    /// `balancer.pick`
    Balancer,
    /// `response-headers.on-response-headers`
    ResponseHeaders,
    /// `response-body.on-response-body`
    ResponseBody,
    /// `response-trailers.on-response-trailers`
    ResponseTrailers,
    /// `exchange-end.on-exchange-end`
    ExchangeEnd,
    /// `connection.on-connect`
    Connect,
    /// `downstream-data.on-downstream-data`
    DownstreamData,
    /// `upstream-data.on-upstream-data`
    UpstreamData,
    /// `connection.on-close`
    Close,
    /// `steer.weigh`
    Steer,
}

impl Hook {
    /// Every hook, in the order in which an exchange, and then a TCP connection, meets them; last, what neither meets.
    pub const ALL: [Hook; 14] = [
        Hook::Configure,
        Hook::RequestHeaders,
        Hook::RequestBody,
        Hook::RequestTrailers,
        Hook::Balancer,
        Hook::ResponseHeaders,
        Hook::ResponseBody,
        Hook::ResponseTrailers,
        Hook::ExchangeEnd,
        Hook::Connect,
        Hook::DownstreamData,
        Hook::UpstreamData,
        Hook::Close,
        Hook::Steer,
    ];

    /// The name for logs and metrics, for example `request-headers`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Configure => "configure",
            Hook::RequestHeaders => "request-headers",
            Hook::RequestBody => "request-body",
            Hook::RequestTrailers => "request-trailers",
            Hook::Balancer => "balancer",
            Hook::ResponseHeaders => "response-headers",
            Hook::ResponseBody => "response-body",
            Hook::ResponseTrailers => "response-trailers",
            Hook::ExchangeEnd => "exchange-end",
            Hook::Connect => "connect",
            Hook::DownstreamData => "downstream-data",
            Hook::UpstreamData => "upstream-data",
            Hook::Close => "close",
            Hook::Steer => "steer",
        }
    }

    /// The interface of `odin:plugin` that exports it, and the function in it.
    pub(crate) fn export(self) -> (&'static str, &'static str) {
        match self {
            Hook::Configure => ("lifecycle", "configure"),
            Hook::RequestHeaders => ("request-headers", "on-request-headers"),
            Hook::RequestBody => ("request-body", "on-request-body"),
            Hook::RequestTrailers => ("request-trailers", "on-request-trailers"),
            Hook::Balancer => ("balancer", "pick"),
            Hook::ResponseHeaders => ("response-headers", "on-response-headers"),
            Hook::ResponseBody => ("response-body", "on-response-body"),
            Hook::ResponseTrailers => ("response-trailers", "on-response-trailers"),
            Hook::ExchangeEnd => ("exchange-end", "on-exchange-end"),
            Hook::Connect => ("connection", "on-connect"),
            Hook::DownstreamData => ("downstream-data", "on-downstream-data"),
            Hook::UpstreamData => ("upstream-data", "on-upstream-data"),
            Hook::Close => ("connection", "on-close"),
            Hook::Steer => ("steer", "weigh"),
        }
    }

    /// Whether it is called for an exchange or a connection, which has a context.
    pub(crate) fn has_exchange(self) -> bool {
        !matches!(self, Hook::Configure | Hook::Steer)
    }

    /// Whether its time is the exchange's. The hooks of the end have time of their own: what a client did before must not
    /// keep a plugin from noting it.
    pub(crate) fn is_budgeted(self) -> bool {
        !matches!(self, Hook::Configure | Hook::Steer | Hook::ExchangeEnd | Hook::Close)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_its_own_index() {
        for (at, hook) in Hook::ALL.into_iter().enumerate() {
            assert_eq!(hook.index(), at);
        }
    }
}
