//! The one error of the data path and the one place where it becomes a response.
//!
//! Inner functions make an [`Error`] and return it; the outer function of the exchange logs it once. Nothing here may
//! leak the words of an upstream or of a plugin to the client: the client learns what kind of thing failed.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use odin_chain::Reply;

/// Who has to look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The client, or the network on its side.
    Downstream,
    /// The endpoint, or the network on its side.
    Upstream,
    /// A plugin.
    Plugin,
    /// Odin itself, or its config.
    Odin,
}

impl Blame {
    /// The word used in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Blame::Downstream => "downstream",
            Blame::Upstream => "upstream",
            Blame::Plugin => "plugin",
            Blame::Odin => "odin",
        }
    }
}

/// What happened. Each kind has one status, one blame and one sentence for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is not one that HTTP allows, or that can be forwarded safely.
    MalformedRequest,
    /// The request's head or trailers are over the limit.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// The body of the request stalled.
    BodyTimeout,
    /// `Expect` asks for something else than `100-continue` (RFC 9110, section 10.1.1).
    ExpectationFailed,
    /// A method that Odin does not implement (`CONNECT`).
    NotImplemented,
    /// No route matches host and path.
    NoRoute,
    /// The client asks for a host for which it has no right connection.
    Misdirected,
    /// A plugin refused the exchange.
    Rejected,
    /// A plugin ends the exchange without a word to the client.
    Cut,
    /// A plugin answers in place of the upstream: see [`Error::reply`].
    Replied,
    /// A plugin wants the whole body of the request, and it is over the plugin's limit.
    BodyTooLarge,
    /// A plugin wants the whole body of the response, and it is over the plugin's limit.
    ResponseTooLarge,
    /// The client went away, or broke off its body.
    DownstreamClosed,
    /// No endpoint is left to try, or the balancer answered none.
    NoEndpoint,
    /// Every connection that Odin may have to the endpoint is in use, and none became free in time.
    UpstreamBusy,
    /// The connect was refused, or did not succeed in time.
    ConnectFailed,
    /// The upstream closed the connection before its response was complete.
    UpstreamClosed,
    /// The upstream's response is not one that can be forwarded safely.
    MalformedResponse,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A hook trapped, overran its limits or answered nonsense.
    PluginFailed,
}

impl Kind {
    fn facts(self) -> (StatusCode, Blame, &'static str) {
        use Blame::{Downstream, Odin, Plugin, Upstream};
        match self {
            Kind::MalformedRequest => (StatusCode::BAD_REQUEST, Downstream, "malformed request"),
            Kind::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Downstream, "request head too large"),
            Kind::HeaderTimeout => (StatusCode::REQUEST_TIMEOUT, Downstream, "request head did not arrive in time"),
            Kind::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, Downstream, "request body did not arrive in time"),
            Kind::ExpectationFailed => (StatusCode::EXPECTATION_FAILED, Downstream, "expectation failed"),
            Kind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, Downstream, "method not implemented"),
            Kind::NoRoute => (StatusCode::NOT_FOUND, Odin, "no route"),
            Kind::Misdirected => (StatusCode::MISDIRECTED_REQUEST, Downstream, "misdirected request"),
            Kind::Rejected => (StatusCode::FORBIDDEN, Plugin, "refused"),
            // Never sent either. 444 is nginx's word for it.
            Kind::Cut => (StatusCode::from_u16(444).unwrap_or(StatusCode::FORBIDDEN), Plugin, "cut"),
            // The status is that of the reply, unless the reply came too late to be sent.
            Kind::Replied => (StatusCode::BAD_GATEWAY, Plugin, "reply after the response had begun"),
            Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Downstream, "request body too large"),
            Kind::ResponseTooLarge => (StatusCode::BAD_GATEWAY, Upstream, "response body too large"),
            // Never sent: nobody is there to read it. 499 is what nginx users look for in the log.
            Kind::DownstreamClosed => {
                (StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), Downstream, "client went away")
            }
            Kind::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, Upstream, "no endpoint available"),
            Kind::UpstreamBusy => (StatusCode::SERVICE_UNAVAILABLE, Upstream, "no upstream connection available"),
            Kind::ConnectFailed => (StatusCode::BAD_GATEWAY, Upstream, "upstream connect failed"),
            Kind::UpstreamClosed => (StatusCode::BAD_GATEWAY, Upstream, "upstream closed the connection"),
            Kind::MalformedResponse => (StatusCode::BAD_GATEWAY, Upstream, "malformed upstream response"),
            Kind::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, Upstream, "upstream timeout"),
            Kind::PluginFailed => (StatusCode::BAD_GATEWAY, Plugin, "plugin failed"),
        }
    }

    /// The status that the client gets, or would get.
    pub(crate) fn status(self) -> StatusCode {
        self.facts().0
    }

    /// Who has to look into it.
    pub(crate) fn blame(self) -> Blame {
        self.facts().1
    }
}

/// What went wrong with one exchange or connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {detail}", .kind.facts().2)]
pub(crate) struct Error {
    /// What happened.
    pub(crate) kind: Kind,
    /// The particulars, for the log.
    pub(crate) detail: Cow<'static, str>,
    /// True when nothing reached the upstream, or nothing that it may have acted on: another endpoint may be tried.
    pub(crate) retryable: bool,
    /// What a plugin answers; then nothing went wrong, and this is but the way out.
    pub(crate) reply: Option<Arc<Reply>>,
    /// The plugin that it comes from.
    pub(crate) by: Option<Arc<str>>,
}

impl Error {
    /// An error that must not be retried.
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, detail: detail.into(), retryable: false, reply: None, by: None }
    }

    /// The way out for a plugin's answer.
    pub(crate) fn replied(reply: Box<Reply>, by: &str) -> Self {
        let reply = Some(Arc::from(reply));
        Error { reply, ..Error::new(Kind::Replied, format!("plugin {by:?}")) }.by(by)
    }

    /// Names the plugin that it comes from.
    pub(crate) fn by(mut self, plugin: &str) -> Self {
        self.by = Some(plugin.into());
        self
    }

    /// Marks the error as one after which another endpoint may be tried.
    pub(crate) fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// The response that tells the client. The only place where an error becomes a response.
    pub(crate) fn to_response(&self) -> Response<Bytes> {
        let (status, _, words) = self.kind.facts();
        let text = match self.kind {
            Kind::MalformedRequest => format!("odin: {words}: {}\n", self.detail),
            _ => format!("odin: {words}\n"),
        };
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}
