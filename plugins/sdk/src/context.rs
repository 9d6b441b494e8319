//! What one exchange (or one TCP connection) remembers from hook to hook and from plugin to plugin.
//!
//! Guest memory forgets: any instance may serve any call. Names that begin with `private:` are seen only by the plugin
//! that set them; all others by every later hook of every plugin of the exchange, and by the balancer. At most 64
//! values and 64 KiB in one exchange. A [`Key`] names a value and knows its type:
//!
//! ```
//! # use odin_sdk::{Decision, Request, Result, context::{Json, Key}};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Claims { admin: bool }
//! static TENANT: Key<String> = Key::new("tenant");
//! static CLAIMS: Key<Json<Claims>> = Key::new("private:claims");
//!
//! fn remember(request: &Request) -> Result {
//!     TENANT.set(&request.get_str("x-tenant-id").ok_or("no tenant")?)?;
//!     CLAIMS.set(&Claims { admin: false })?;
//!     Ok(Decision::Continue)
//! }
//!
//! fn recall() -> Option<(String, Claims)> {
//!     Some((TENANT.get()?, CLAIMS.get()?))
//! }
//! ```

use std::marker::PhantomData;

use crate::host::context as host;
use crate::{Error, Result};

pub use crate::bindings::imports::context::Value;
pub use crate::refusals::ContextError;

/// The value as it is, or `None`.
pub fn get(name: &str) -> Option<Value> {
    host::get(name)
}

/// Sets or replaces a value of this exchange (of this connection, in a TCP connection).
///
/// `context::set("canary", true)?;`
pub fn set(name: &str, value: impl Into<Value>) -> Result<(), ContextError> {
    Ok(host::set(name, &value.into())?)
}

/// Sets or replaces a value of the connection, for all its exchanges.
pub fn set_on_connection(name: &str, value: impl Into<Value>) -> Result<(), ContextError> {
    Ok(host::set_on_connection(name, &value.into())?)
}

/// Removes a value of this exchange; removing what is not there is no error. A value of the connection shows again.
pub fn remove(name: &str) {
    host::remove(name);
}

/// The name of a value, with its type. Meant to be a `static`.
#[derive(Debug)]
pub struct Key<T: Stored> {
    name: &'static str,
    stored: PhantomData<fn() -> T>,
}

impl<T: Stored> Key<T> {
    /// Names a value. The same name is the same value, in every plugin of the exchange, unless it begins with
    /// `private:`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, stored: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The value; `None` when it is missing or of another type.
    pub fn get(&self) -> Option<T::Owned> {
        T::read(get(self.name)?)
    }

    /// Sets or replaces the value.
    pub fn set(&self, value: &T::Borrowed) -> Result<()> {
        set(self.name, T::write(value)?).map_err(|error| Error::from(error).context(self.name))
    }

    /// Sets or replaces the value for the connection, for all its exchanges.
    pub fn set_on_connection(&self, value: &T::Borrowed) -> Result<()> {
        set_on_connection(self.name, T::write(value)?).map_err(|error| Error::from(error).context(self.name))
    }

    /// Removes the value.
    pub fn remove(&self) {
        remove(self.name);
    }
}

/// What a [`Key`] can name: `bool`, integers up to 64 bits, `f64`, `String`, `Vec<u8>`, and [`Json`] of anything that
/// serde knows.
pub trait Stored {
    /// What `get` answers.
    type Owned;
    /// What `set` takes a reference to.
    type Borrowed: ?Sized;

    /// The value for the host.
    fn write(value: &Self::Borrowed) -> Result<Value>;
    /// The value from the host; `None` when it is of another type.
    fn read(value: Value) -> Option<Self::Owned>;
}

/// A value of a type of the plugin's own, which travels as JSON.
#[derive(Debug)]
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T: serde::Serialize + serde::de::DeserializeOwned> Stored for Json<T> {
    type Owned = T;
    type Borrowed = T;

    fn write(value: &T) -> Result<Value> {
        Ok(Value::Bytes(serde_json::to_vec(value)?))
    }

    fn read(value: Value) -> Option<T> {
        match value {
            Value::Bytes(json) => serde_json::from_slice(&json).ok(),
            _ => None,
        }
    }
}

macro_rules! native {
    ($($case:ident: $owned:ty, $borrowed:ty;)*) => {$(
        impl Stored for $owned {
            type Owned = $owned;
            type Borrowed = $borrowed;

            fn write(value: &$borrowed) -> Result<Value> {
                Ok(Value::$case(value.to_owned()))
            }

            fn read(value: Value) -> Option<$owned> {
                match value {
                    Value::$case(value) => Some(value),
                    _ => None,
                }
            }
        }

        impl From<$owned> for Value {
            fn from(value: $owned) -> Self {
                Self::$case(value)
            }
        }
    )*};
}

native! {
    Boolean: bool, bool;
    Integer: i64, i64;
    Float: f64, f64;
    Text: String, str;
    Bytes: Vec<u8>, [u8];
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Stored for $type {
            type Owned = $type;
            type Borrowed = $type;

            fn write(value: &$type) -> Result<Value> {
                Ok(Value::Integer(i64::try_from(*value)?))
            }

            fn read(value: Value) -> Option<$type> {
                match value {
                    Value::Integer(value) => value.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 usize i8 i16 i32);

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
        assert_eq!(String::read(Value::from("acme")).as_deref(), Some("acme"));
        assert_eq!(u16::read(Value::from(7)), Some(7));
        assert_eq!(u16::read(Value::from(-7)), None);
        assert_eq!(i64::read(Value::from("7")), None);
        assert!(u64::write(&u64::MAX).is_err(), "the contract's integers are signed");
        assert!(matches!(Value::from(&b"x"[..]), Value::Bytes(_)));
    }

    #[test]
    fn other_types_travel_as_json() {
        let value = Json::<Vec<u32>>::write(&vec![1, 2]).unwrap();
        assert_eq!(value, Value::Bytes(b"[1,2]".to_vec()));
        assert_eq!(Json::<Vec<u32>>::read(value), Some(vec![1, 2]));
        assert_eq!(Json::<Vec<u32>>::read(Value::Text("[1]".to_owned())), None);
    }
}
