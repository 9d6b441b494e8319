//! Answers that a plugin gives itself, put together in one expression. Framing fields are the host's work.

use crate::{Decision, Response};

impl Response {
    /// An empty response with this status, 200 to 599.
    ///
    /// ```
    /// # use odin_sdk::Response;
    /// let hello = Response::new(200).with_field("content-type", "text/plain").with_body("hello\n");
    /// assert_eq!(hello.body, b"hello\n");
    /// ```
    pub fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Vec::new() }
    }

    /// Adds a field. `content-length` and its like are refused by the host: it sets them.
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Replaces the body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl Decision {
    /// Refuses the exchange with 403. The reason goes into the access log, not to the client.
    ///
    /// `return Decision::reject("no credentials");`
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        Self::Reply(response)
    }
}
