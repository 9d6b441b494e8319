//! A whole response and the sentences that a test says about it. Never asks the network: it has all arrived.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

/// A response with its body and trailers, as the client received them.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The version that it came in.
    pub version: Version,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The fields after the body, when there were any.
    pub trailers: Option<HeaderMap>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(600).collect();
        write!(f, "{:?} {} {:?} {body:?}", self.version, self.status, self.headers)?;
        self.trailers.as_ref().map_or(Ok(()), |trailers| write!(f, " {trailers:?}"))
    }
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The only value of the field; none when it is missing.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{name} came {} times: {self:?}", values.len());
        values.first().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn has_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Fails unless the field is there exactly once with this value.
    #[track_caller]
    pub fn has_field(self, name: &str, value: &str) -> Self {
        assert_eq!(self.field(name).as_deref(), Some(value), "{name} in {self:?}");
        self
    }

    /// Fails when the field is there.
    #[track_caller]
    pub fn lacks_field(self, name: &str) -> Self {
        assert!(!self.headers.contains_key(name), "{name} in {self:?}");
        self
    }

    /// Fails unless the body is this.
    #[track_caller]
    pub fn has_body(self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        assert!(self.body == body, "wanted the body {:?}, got {self:?}", String::from_utf8_lossy(body));
        self
    }

    /// Fails unless the body contains this text.
    #[track_caller]
    pub fn mentions(self, words: &str) -> Self {
        assert!(self.text().contains(words), "wanted {words:?} in {self:?}");
        self
    }

    /// Fails unless the trailer is there with this value.
    #[track_caller]
    pub fn has_trailer(self, name: &str, value: &str) -> Self {
        let found = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        assert_eq!(found.map(|v| v.as_bytes()), Some(value.as_bytes()), "trailer {name} in {self:?}");
        self
    }
}
