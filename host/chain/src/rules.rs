//! What the operator says about a filter, as far as the chain acts on it.

use std::time::Duration;

use crate::chain::Answer;

/// How the chain treats a filter.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a body, or of one direction of a TCP stream, that are held for it.
    pub body_bytes: usize,
    /// How long it waits for a body that it wants whole.
    pub body_wait: Duration,
    /// What becomes of a body that is larger, or that does not come in time.
    pub body_overflow: BodyOverflow,
    /// What becomes of an exchange when one of its hooks fails.
    pub on_failure: OnFailure,
}

/// What becomes of a body that is over the filter's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyOverflow {
    /// The exchange fails: 413 for a request, 502 for a response.
    #[default]
    Reject,
    /// The filter gets the beginning, and the rest streams past.
    Partial,
}

/// What becomes of an exchange when a hook of the filter fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The exchange fails with 502.
    #[default]
    Closed,
    /// The exchange goes on as if the filter were not there.
    Open,
}

impl OnFailure {
    /// The answer of a hook; of one that failed its error, or none when the exchange goes on without it.
    pub fn judge<T, E>(self, answer: Answer<T, E>) -> Result<Option<T>, E> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(failed) if self == OnFailure::Open && failed.may_pass => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }
}
