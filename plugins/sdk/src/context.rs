//! What one exchange (or one TCP connection) remembers from hook to hook and from plugin to plugin.
//!
//! Guest memory forgets: any instance may serve any call. Names that begin with `private:` are seen only by the plugin
//! that set them; all others by every later hook of every plugin of the exchange, and by the balancer.
//!
//! ```no_run
//! use odin_sdk::context;
//!
//! context::set("tenant", "acme")?;
//! let tenant: Option<String> = context::get("tenant");
//! # Ok::<(), context::ContextError>(())
//! ```

use crate::bindings::imports::context as host;

pub use host::{ContextError, Value};

/// The value as `T`; `None` when it is missing or of another type. As [`Value`] it is whatever it is.
///
/// `if context::get("canary") == Some(true) { … }`
pub fn get<T: TryFrom<Value>>(name: &str) -> Option<T> {
    T::try_from(host::get(name)?).ok()
}

/// Sets or replaces a value: `bool`, `i64`, `f64`, text or bytes.
///
/// Refused past 64 values or 64 KiB in one exchange, and in `configure`, where there is no exchange.
pub fn set(name: &str, value: impl Into<Value>) -> Result<(), ContextError> {
    host::set(name, &value.into())
}

/// Removes a value; removing what is not there is no error.
pub fn remove(name: &str) {
    host::remove(name);
}

macro_rules! values {
    ($($case:ident: $type:ty;)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$case(value)
            }
        }

        impl TryFrom<Value> for $type {
            type Error = Value;

            /// Gives the value back when it is of another type.
            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    Value::$case(value) => Ok(value),
                    other => Err(other),
                }
            }
        }
    )*};
}

values! {
    Boolean: bool;
    Integer: i64;
    Float: f64;
    Text: String;
    Bytes: Vec<u8>;
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_was_set_as_and_as_nothing_else() {
        assert_eq!(String::try_from(Value::from("acme")).ok().as_deref(), Some("acme"));
        assert_eq!(i64::try_from(Value::from(7)).ok(), Some(7));
        assert!(i64::try_from(Value::from("7")).is_err());
        assert!(matches!(Value::from(&b"x"[..]), Value::Bytes(_)));
    }
}
