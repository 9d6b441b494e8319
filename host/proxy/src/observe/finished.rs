//! What is told about an exchange that is over: plain facts, put together by the exchange's record.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use odin_chain::TlsInfo;

use crate::error::Blame;

/// An exchange that is over.
pub(crate) struct Finished<'a> {
    /// The listener's name.
    pub(crate) listener: &'a str,
    pub(crate) client: SocketAddr,
    /// How the connection was encrypted.
    pub(crate) tls: Option<&'a TlsInfo>,
    /// As the client sent it, like the next three.
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) authority: Option<&'a HeaderValue>,
    /// The start line of a head that could not be read, as far as it came.
    pub(crate) unread: Option<&'a str>,
    /// The request's id, once a route was found.
    pub(crate) id: Option<&'a HeaderValue>,
    pub(crate) status: StatusCode,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the response's body.
    pub(crate) sent: u64,
    pub(crate) elapsed: Duration,
    /// The cluster and address of the last endpoint.
    pub(crate) endpoint: Option<(&'a str, SocketAddr)>,
    /// How many endpoints were tried.
    pub(crate) attempts: u32,
    /// The plugin that answered in place of the upstream, refused, cut or failed.
    pub(crate) answered_by: Option<&'a str>,
    /// What failed, if anything, and who has to look into it.
    pub(crate) failure: Option<(Blame, &'a str)>,
}
