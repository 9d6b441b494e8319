//! The heads of the exchange that the running hook was called for, and its trailers.
//!
//! The types hold nothing: each method asks the host. Nothing here may copy a whole head unless it is asked to.

use std::str::FromStr;

use crate::Field;
use crate::host;
use crate::refusals::{FieldError, RoutingError};
use crate::routing;

/// The head of the request. It may be changed in `on_request_headers`, and in `on_request_body` after
/// [`BodyMode::Hold`](crate::BodyMode::Hold); elsewhere a setter answers [`FieldError::TooLate`].
///
/// ```
/// # use odin_sdk::{Request, Result};
/// fn mark(request: &Request) -> Result<()> {
///     if request.method() == "GET" && request.path_only() == "/search" {
///         request.set("x-query", request.query().unwrap_or_default())?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Request(());

/// The head of the response. It may be changed in `on_response_headers`, and in `on_response_body` after
/// [`BodyMode::Hold`](crate::BodyMode::Hold).
///
/// ```
/// # use odin_sdk::{Response, Result};
/// fn hide(response: &Response) -> Result<()> {
///     if response.status() >= 500 {
///         response.remove("server")?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Response(());

/// The fields behind a body, in the trailer hooks; empty when the message came without any.
///
/// ```
/// # use odin_sdk::{Result, Trailers};
/// fn checksum(trailers: &Trailers) -> Result<()> {
///     if !trailers.has("x-checksum") {
///         trailers.set("x-checksum", "none")?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Trailers(());

pub(crate) const REQUEST: &Request = &Request(());
pub(crate) const RESPONSE: &Response = &Response(());
pub(crate) const TRAILERS: &Trailers = &Trailers(());

macro_rules! field_methods {
    ($type:ident, $interface:ident) => {
        impl $type {
            /// True when the field is there, with whatever value. Names are compared without regard to case.
            pub fn has(&self, name: &str) -> bool {
                host::$interface::has(name)
            }

            /// The first value of the field, or `None`.
            pub fn get(&self, name: &str) -> Option<Vec<u8>> {
                host::$interface::get(name)
            }

            /// The first value of the field as text; `None` when it is missing or not UTF-8.
            pub fn get_str(&self, name: &str) -> Option<String> {
                String::from_utf8(self.get(name)?).ok()
            }

            /// The first value of the field, parsed; `None` when it is missing or does not parse.
            pub fn get_as<T: FromStr>(&self, name: &str) -> Option<T> {
                std::str::from_utf8(&self.get(name)?).ok()?.trim_ascii().parse().ok()
            }

            /// Every value of the field, in order.
            pub fn get_all(&self, name: &str) -> Vec<Vec<u8>> {
                host::$interface::get_all(name)
            }

            /// Every field. Copies all of them: prefer `get`.
            pub fn fields(&self) -> Vec<Field> {
                host::$interface::fields()
            }

            /// Replaces all values of the field by this one. An error changes nothing.
            pub fn set(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
                Ok(host::$interface::set(name, value.as_ref())?)
            }

            /// Adds a value and keeps those that are there. An error changes nothing.
            pub fn append(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
                Ok(host::$interface::append(name, value.as_ref())?)
            }

            /// Adds an element to a field that is a list (RFC 9110, section 5.6.1), behind those that are there: one value,
            /// with commas. An error changes nothing.
            ///
            /// `response.extend("vary", "accept-encoding")?;`
            pub fn extend(&self, name: &str, element: impl AsRef<[u8]>) -> Result<(), FieldError> {
                let mut list = self.get_all(name);
                list.push(element.as_ref().to_vec());
                self.set(name, list.join(&b","[..]))
            }

            /// Removes all values of the field; removing what is not there is no error.
            pub fn remove(&self, name: &str) -> Result<(), FieldError> {
                Ok(host::$interface::remove(name)?)
            }
        }
    };
}

macro_rules! head_methods {
    ($type:ident, $interface:ident) => {
        field_methods!($type, $interface);

        impl $type {
            /// The first value of each of the named fields, in the order asked: one call to the host instead of many.
            ///
            /// `let [agent, accept] = request.get_many(["user-agent", "accept"]);`
            pub fn get_many<const N: usize>(&self, names: [&str; N]) -> [Option<Vec<u8>>; N] {
                let mut values = host::$interface::get_many(&names.map(str::to_owned)).into_iter();
                std::array::from_fn(|_| values.next().flatten())
            }

            /// True when a body follows the head.
            pub fn has_body(&self) -> bool {
                host::$interface::has_body()
            }
        }
    };
}

head_methods!(Request, request);
head_methods!(Response, response);
field_methods!(Trailers, trailers);

impl Request {
    /// The method, for example `GET`.
    pub fn method(&self) -> String {
        host::request::method()
    }

    /// Replaces the method: a token, and not `CONNECT`.
    pub fn set_method(&self, method: &str) -> Result<(), FieldError> {
        Ok(host::request::set_method(method)?)
    }

    /// The path with its query: `/search?q=odin`.
    pub fn path(&self) -> String {
        host::request::path()
    }

    /// The path without the query: `/search`.
    pub fn path_only(&self) -> String {
        let mut path = self.path();
        path.truncate(path.find('?').unwrap_or(path.len()));
        path
    }

    /// What follows the `?`; `None` when there is none.
    pub fn query(&self) -> Option<String> {
        let mut path = self.path();
        let mark = path.find('?')?;
        Some(path.split_off(mark + 1))
    }

    /// Replaces path and query. The route stays what it is: see [`rematch_route`](Self::rematch_route).
    pub fn set_path(&self, path: &str) -> Result<(), FieldError> {
        Ok(host::request::set_path(path)?)
    }

    /// `http` or `https`: how the client reached Odin.
    pub fn scheme(&self) -> String {
        host::request::scheme()
    }

    /// Replaces the scheme by `http` or `https`: what an HTTP/2 upstream sees.
    pub fn set_scheme(&self, scheme: &str) -> Result<(), FieldError> {
        Ok(host::request::set_scheme(scheme)?)
    }

    /// The host and port that the client asked for.
    pub fn authority(&self) -> String {
        host::request::authority()
    }

    /// Replaces what the upstream sees as `Host` or `:authority`.
    pub fn set_authority(&self, authority: &str) -> Result<(), FieldError> {
        Ok(host::request::set_authority(authority)?)
    }

    /// Sends the exchange to this cluster. The last call counts.
    pub fn set_cluster(&self, name: &str) -> Result<(), RoutingError> {
        routing::set_cluster(name)
    }

    /// Matches the routes again, with authority and path as they are now, and takes the cluster of what matches.
    pub fn rematch_route(&self) -> Result<(), RoutingError> {
        routing::rematch()
    }
}

impl Response {
    /// The status code, 200 to 599.
    pub fn status(&self) -> u16 {
        host::response::status()
    }

    /// Replaces the status code. Refused outside 200 to 599, and between codes that have a body and codes that cannot
    /// have one (204, 205, 304).
    pub fn set_status(&self, status: u16) -> Result<(), FieldError> {
        Ok(host::response::set_status(status)?)
    }
}
