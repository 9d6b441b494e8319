//! What a hook answers when it fails: words. The host does with them what the plugin's `on-failure` says.
//!
//! An `Error` must never be a `Display`: that is what lets `?` turn anything that can be shown into one.

use std::fmt::{self, Debug, Display};

/// What a hook answers: its decision, or why the plugin failed.
///
/// `Result` alone is that of a header hook; `Result<Piece>` that of a body hook; `Result<()>` that of `on_close`.
pub type Result<T = crate::Decision, E = Error> = std::result::Result<T, E>;

/// Why the plugin failed, in words for the log. Anything that can be shown becomes one by `?`: every standard error,
/// and plain text.
///
/// A failure is the plugin's own fault, not the client's: the exchange gets 502, or goes on without the plugin with
/// `on-failure = "open"`. To refuse a request use [`Decision::reject`](crate::Decision::reject).
///
/// ```
/// # use odin_sdk::{Request, Result};
/// fn left(request: &Request) -> Result<u32> {
///     let text = request.get_str("x-ratelimit-remaining").ok_or("the field is missing")?;
///     Ok(text.parse()?)
/// }
/// ```
pub struct Error(String);

impl Error {
    /// From words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.0
    }

    /// The same with words in front: `tenant: the field is missing`.
    pub fn context(self, what: impl Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }

    pub(crate) fn into_message(self) -> String {
        self.0
    }
}

impl<E: Display> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32> {
        if text.is_empty() {
            Err("no text")?;
        }
        Ok(text.parse()?)
    }

    #[test]
    fn words_and_standard_errors_become_errors() {
        assert_eq!(number("").map_err(Error::into_message), Err("no text".to_owned()));
        assert_eq!(
            number("x").map_err(|error| error.context("limit").into_message()).err().as_deref(),
            Some("limit: invalid digit found in string")
        );
        assert_eq!(number("7").ok(), Some(7));
    }
}
