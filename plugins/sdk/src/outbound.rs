//! HTTP calls to clusters of the config, from any hook but `new`. Granted by naming them: `outbound = ["auth"]`.
//! A call waits for its answer; the worker goes on with other exchanges meanwhile.
//!
//! ```
//! # use std::time::Duration;
//! # use odin_sdk::{Decision, Request, Result, outbound};
//! fn on_request_headers(request: &Request) -> Result {
//!     let answer = outbound::Request::get("auth", "/check")
//!         .with_field("authorization", request.get("authorization").unwrap_or_default())
//!         .with_timeout(Duration::from_millis(200))
//!         .send()?;
//!     Ok(if answer.status == 204 { Decision::Continue } else { Decision::reject("not allowed") })
//! }
//! ```

use std::time::Duration;

use crate::Field;
use crate::bindings::imports::outbound as wit;

pub use crate::refusals::OutboundError;

/// A request to a cluster, put together in one expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Request(wit::Request);

/// What came back. A status of 500 is an answer, not an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The fields behind the body; usually none.
    pub trailers: Vec<Field>,
}

impl Request {
    /// A request without fields or body. The path begins with `/` and may have a query.
    pub fn new(method: &str, cluster: &str, path: &str) -> Self {
        Self(wit::Request {
            cluster: cluster.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            authority: None,
            fields: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        })
    }

    /// A `GET`.
    pub fn get(cluster: &str, path: &str) -> Self {
        Self::new("GET", cluster, path)
    }

    /// A `POST` with this body.
    pub fn post(cluster: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", cluster, path).with_body(body)
    }

    /// Adds a field. Framing fields are refused by the host.
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.fields.push((name.into(), value.into()));
        self
    }

    /// Replaces the body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.0.body = body.into();
        self
    }

    /// What the upstream sees as `Host`; the cluster's name unless set.
    pub fn with_authority(mut self, authority: impl Into<String>) -> Self {
        self.0.authority = Some(authority.into());
        self
    }

    /// How long the whole call may take, in whole milliseconds; never more than the plugin's `outbound-timeout`.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout_ms = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// The cluster that it goes to.
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.0.fields
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// How long the whole call may take, where it says so.
    pub fn timeout(&self) -> Option<Duration> {
        self.0.timeout_ms.map(|milliseconds| Duration::from_millis(milliseconds.into()))
    }

    /// Sends it and waits for the answer.
    pub fn send(&self) -> Result<Answer, OutboundError> {
        let wit::Response { status, fields, body, trailers } = crate::host::outbound::send(&self.0)?;
        Ok(Answer { status, fields, body, trailers })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        Self(request)
    }
}

impl Answer {
    /// The first value of the field, or `None`. Names are compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.as_slice())
    }

    /// The first value of the field as text; `None` when it is missing or not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The body as text; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }

    /// The body read as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> crate::Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
