//! What came of an exchange: what the upstream saw and what the client got.

use odin_chain::Context;

use crate::bindings::imports::context::Value;
use crate::decisions::Field;

macro_rules! message {
    ($type:ident) => {
        impl $type {
            /// True when the field is there.
            pub fn has(&self, name: &str) -> bool {
                self.field(name).is_some()
            }

            /// The first value of the field as text, or `None`. Names are compared without regard to case.
            pub fn field(&self, name: &str) -> Option<&str> {
                first(&self.fields, name)
            }

            /// The first value of the trailer as text, or `None`.
            pub fn trailer(&self, name: &str) -> Option<&str> {
                first(&self.trailers, name)
            }

            /// The body as text; what is not UTF-8 panics.
            pub fn text(&self) -> &str {
                std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("the body is not UTF-8"))
            }
        }
    };
}

/// A request as the upstream saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The cluster that it was sent to.
    pub cluster: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// What the upstream sees as `Host`.
    pub authority: String,
    /// All fields; names in lower case.
    pub fields: Vec<Field>,
    /// The body, or what came of it before a plugin ended the exchange.
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<Field>,
    /// False when a plugin ended the exchange after the head had gone.
    pub complete: bool,
}

/// What the client got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// The status; `None` when the exchange was cut before there was one.
    pub status: Option<u16>,
    /// All fields; names in lower case.
    pub fields: Vec<Field>,
    /// The body, or what came of it before the exchange was cut.
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<Field>,
    /// Why it ended early, if it did.
    pub cut: Option<String>,
}

message!(Seen);
message!(Received);

/// An upstream's response, put together in one expression.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    pub(super) status: u16,
    pub(super) fields: Vec<Field>,
    pub(super) body: Option<Vec<Vec<u8>>>,
    pub(super) trailers: Vec<Field>,
}

impl Upstream {
    /// A response without a body.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// The body, in the pieces in which it comes.
    pub fn body<B: Into<Vec<u8>>>(mut self, pieces: impl IntoIterator<Item = B>) -> Self {
        self.body = Some(pieces.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a field behind the body.
    pub fn trailer(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push((name.to_owned(), value.into()));
        self
    }
}

/// What came of an exchange.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the upstream saw; `None` when it was never asked.
    pub upstream: Option<Seen>,
    /// What the client got.
    pub client: Received,
    /// The words of every hook that failed, also of those that were passed over.
    pub failures: Vec<String>,
    /// Why the exchange was refused or failed.
    pub error: Option<String>,
    /// Values of the exchange, and then of the connection.
    pub(super) context: Vec<(String, Value)>,
    pub(super) connection: Context,
}

impl Outcome {
    /// What the upstream saw; panics when it was never asked.
    pub fn upstream(&self) -> &Seen {
        self.upstream.as_ref().unwrap_or_else(|| panic!("the upstream was never asked: {self:?}"))
    }

    /// A value of the context at the end, of the exchange or else of the connection.
    pub fn context(&self, name: &str) -> Option<&Value> {
        self.context.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A text of the context at the end.
    pub fn context_text(&self, name: &str) -> Option<&str> {
        match self.context(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn first<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.0.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(&field.1).ok()
}
