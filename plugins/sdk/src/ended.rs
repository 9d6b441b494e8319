//! The exchange as it is seen when it is over.

use std::time::Duration;

use crate::{Request, Response, facts, heads};

/// An exchange that is over, whichever way it ended.
///
/// ```
/// # use odin_sdk::{Ended, Result, context};
/// fn note(exchange: &Ended) -> Result<()> {
///     if exchange.status().is_none_or(|status| status >= 500) {
///         context::set("went-wrong", exchange.request().path())?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Ended(());

pub(crate) const ENDED: &Ended = &Ended(());

impl Ended {
    /// The head of the request as it went; read-only.
    pub fn request(&self) -> &Request {
        heads::REQUEST
    }

    /// The head of the response as it went; read-only. Only where [`status`](Self::status) answers one: to read a
    /// response that never was traps.
    pub fn response(&self) -> &Response {
        heads::RESPONSE
    }

    /// The status that the client got, or `None` when it got none.
    pub fn status(&self) -> Option<u16> {
        facts::status()
    }

    /// How it failed, in words.
    pub fn error(&self) -> Option<String> {
        facts::error()
    }

    /// From the first byte of the request until now.
    pub fn elapsed(&self) -> Option<Duration> {
        facts::elapsed()
    }
}
