//! The error types of the contract, each with its name there and words for people. Must say no more than `wit/` says.

use std::fmt;

use crate::bindings::imports::{context, outbound, routing, shared, types};

macro_rules! refusals {
    ($(#[$about:meta])* $error:ident of $contract:path {
        $($(#[$doc:meta])* $case:ident $name:literal $words:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $error {
            $($(#[$doc])* $case,)+
        }

        impl $error {
            /// The name in the contract.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $name,)+
                }
            }
        }

        impl fmt::Display for $error {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self {
                    $(Self::$case => concat!($name, ": ", $words),)+
                })
            }
        }

        impl std::error::Error for $error {}

        impl From<$contract> for $error {
            fn from(error: $contract) -> Self {
                use $contract as From;
                match error {
                    $(From::$case => Self::$case,)+
                }
            }
        }
    };
}

refusals! {
    /// Why a change of a head or of trailers was refused. The message is left as it was.
    FieldError of types::FieldError {
        /// The name is not an HTTP token (RFC 9110, section 5.1).
        InvalidName "invalid-name" "the field's name is not an HTTP token",
        /// The value holds a control character (RFC 9110, section 5.5), or is not what the function is for.
        InvalidValue "invalid-value" "the value holds a control character, or is not what it should be",
        /// The field frames the message or belongs to one connection; for `host` use
        /// [`set_authority`](crate::Request::set_authority).
        Forbidden "forbidden" "the field frames the message or belongs to one connection",
        /// The head would grow past the limit of the listener.
        TooLarge "too-large" "the head would grow past the limit of the listener",
        /// This head cannot be changed in this hook: it has gone on already, or is there to be read only.
        TooLate "too-late" "this head cannot be changed in this hook",
    }
}

refusals! {
    /// Why a value of the context was not set.
    ContextError of context::ContextError {
        /// More than 64 values, or more than 64 KiB of names and values in one exchange or connection.
        TooLarge "too-large" "over 64 values or 64 KiB in one context",
        /// This plugin has set half of what the context holds: 32 values, or 32 KiB.
        OverShare "over-share" "over 32 values or 32 KiB of one plugin in one context",
        /// There is no exchange: the call came from `new`.
        NoExchange "no-exchange" "there is no exchange yet",
        /// The name begins with `odin.`: a fact cannot be set.
        ReadOnly "read-only" "facts of the host cannot be set",
    }
}

refusals! {
    /// Why the exchange or connection was not sent elsewhere.
    RoutingError of routing::RoutingError {
        /// No cluster of the config has this name.
        UnknownCluster "unknown-cluster" "the plugin's `clusters` names no such cluster",
        /// No route of the listener matches the request as it is now.
        NoRoute "no-route" "no route matches the request as it is now",
        /// The request has gone on already.
        TooLate "too-late" "the request has gone on already",
    }
}

/// Why a shared value was not set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SharedError {
    /// Key and value together are over a sixteenth of the space, or the key is over 1 KiB.
    TooLarge,
    /// Only from `compare_and_set`: the key is at this version, or is not there.
    Conflict(Option<u64>),
}

impl fmt::Display for SharedError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => out.write_str("too-large: the value takes too much of the space, or the key is too long"),
            Self::Conflict(Some(version)) => write!(out, "conflict: the key is at version {version}"),
            Self::Conflict(None) => out.write_str("conflict: the key is not there"),
        }
    }
}

impl std::error::Error for SharedError {}

impl From<shared::SharedError> for SharedError {
    fn from(error: shared::SharedError) -> Self {
        match error {
            shared::SharedError::TooLarge => Self::TooLarge,
            shared::SharedError::Conflict(version) => Self::Conflict(version),
        }
    }
}

/// Why an outbound call has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OutboundError {
    /// The config does not grant this cluster, or there is none of this name.
    NotGranted,
    /// The request is not one that HTTP allows; in words.
    Invalid(String),
    /// No endpoint could be reached; in words.
    Unreachable(String),
    /// The endpoint was reached and the answer did not come whole; in words.
    Broken(String),
    /// No answer in time.
    Timeout,
    /// The answer's body is over the plugin's `body-limit`.
    TooLarge,
    /// More than 16 calls in one hook, too many at once on this worker, or a call from inside a call four deep.
    TooMany,
    /// Called from `new`.
    Unavailable,
}

impl OutboundError {
    /// The name in the contract.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotGranted => "not-granted",
            Self::Invalid(_) => "invalid",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::NotGranted => "the config does not grant this cluster",
            Self::Invalid(words) | Self::Unreachable(words) | Self::Broken(words) => words.as_str(),
            Self::Timeout => "no answer in time",
            Self::TooLarge => "the answer's body is over body-limit",
            Self::TooMany => "too many outbound calls",
            Self::Unavailable => "there are no outbound calls before the first hook",
        };
        write!(out, "outbound call: {}: {words}", self.name())
    }
}

impl std::error::Error for OutboundError {}

macro_rules! same_cases {
    ($from:path => $to:path) => {
        impl From<$from> for $to {
            fn from(error: $from) -> Self {
                use $from as From;
                match error {
                    From::NotGranted => Self::NotGranted,
                    From::Invalid(words) => Self::Invalid(words),
                    From::Unreachable(words) => Self::Unreachable(words),
                    From::Broken(words) => Self::Broken(words),
                    From::Timeout => Self::Timeout,
                    From::TooLarge => Self::TooLarge,
                    From::TooMany => Self::TooMany,
                    From::Unavailable => Self::Unavailable,
                }
            }
        }
    };
}

same_cases!(outbound::OutboundError => OutboundError);
// For the simulated host, where a test answers the call.
#[cfg(not(target_arch = "wasm32"))]
same_cases!(OutboundError => outbound::OutboundError);
