//! A failed call on its way to statistics and breaker, and wasmtime's many-line errors in one line.

use crate::error::Cause;
use crate::words;

/// A failed call, not yet marked with its plugin and hook.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// The guest's functions, innermost first, one a line.
    pub(crate) backtrace: String,
}

impl From<Cause> for Box<Failure> {
    fn from(cause: Cause) -> Self {
        Box::new(Failure { cause, backtrace: String::new() })
    }
}

/// The whole chain of an error, outermost first, without a backtrace.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let parts: Vec<String> = error
        .chain()
        .map(|link| words::one_line(&link.to_string()))
        // A backtrace is a link of the chain like any other, told apart by its words alone.
        .filter(|words| !words.starts_with("error while executing at wasm backtrace"))
        .collect();
    parts.join(": ")
}
