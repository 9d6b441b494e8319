//! The hooks as traits, one for each hook interface, and the macro that exports an implementation.
//!
//! A trait here adds nothing to its interface in `wit/`: same name, same arguments, same answer. A hook that a plugin
//! does not name must leave no trace in the module.

use crate::{Decision, Endpoints, RequestHead, ResponseHead, Subject};

/// Called once for every fresh instance, before any other hook.
///
/// ```
/// # use odin_sdk::Lifecycle;
/// # struct Quota;
/// #[odin_sdk::plugin]
/// impl Lifecycle for Quota {
///     fn configure(config: &str) -> Result<(), String> {
///         if config == "null" { Err("quota needs a config section".to_owned()) } else { Ok(()) }
///     }
/// }
/// # fn main() {}
/// ```
pub trait Lifecycle {
    /// `config` is the plugin's `config` section as JSON text, `null` when there is none.
    ///
    /// An error refuses the load, or the swap, with these words; the generation before it keeps serving. So does a
    /// panic. There is no exchange yet: [`context`](crate::context) is empty here.
    fn configure(config: &str) -> Result<(), String>;
}

/// Picks the endpoint for one exchange or one TCP connection.
///
/// ```
/// # use odin_sdk::{Balancer, Endpoints, Subject};
/// # struct First;
/// #[odin_sdk::plugin]
/// impl Balancer for First {
///     fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
///         endpoints.nth_eligible(0)
///     }
/// }
/// # fn main() {}
/// ```
pub trait Balancer {
    /// An index into `endpoints`, or `None`: then the client gets 503 (or a closed connection).
    ///
    /// When the connect fails the host asks again, and the failed endpoint is no longer eligible. An index past the
    /// end, a panic or an overrun fails the exchange with 502.
    fn pick(endpoints: &Endpoints, subject: Subject<'_>) -> Option<u32>;
}

/// The request's head has been read and checked and its route found; nothing was sent to the upstream.
///
/// ```
/// # use odin_sdk::{Decision, RequestHead, RequestHeaders, Response};
/// # struct Teapot;
/// #[odin_sdk::plugin]
/// impl RequestHeaders for Teapot {
///     fn on_request_headers(head: &RequestHead) -> Decision {
///         match head.path().as_str() {
///             "/coffee" => Response::new(418).with_body("short and stout").into(),
///             _ => Decision::Continue,
///         }
///     }
/// }
/// # fn main() {}
/// ```
pub trait RequestHeaders {
    /// Called in route order. May change the head, answer in the upstream's place, or refuse.
    ///
    /// A panic or an overrun costs this exchange: 502, or it goes on without the plugin when the config says
    /// `on-failure = "open"`. Changes made before the panic stay.
    fn on_request_headers(head: &RequestHead) -> Decision;
}

/// The upstream's head has been read and checked; the client has seen nothing yet.
///
/// ```
/// # use odin_sdk::{Decision, RequestHead, ResponseHead, ResponseHeaders};
/// # struct Quiet;
/// #[odin_sdk::plugin]
/// impl ResponseHeaders for Quiet {
///     fn on_response_headers(head: &ResponseHead, _request: &RequestHead) -> Decision {
///         let _ = head.remove("server");
///         Decision::Continue
///     }
/// }
/// # fn main() {}
/// ```
pub trait ResponseHeaders {
    /// Called in reverse route order. `request` is as it went upstream, and read-only.
    ///
    /// Failure as in [`RequestHeaders`].
    fn on_response_headers(head: &ResponseHead, request: &RequestHead) -> Decision;
}

/// What `#[plugin]` puts behind an `impl` block: the export of that one hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (Lifecycle $plugin:ident) => {
        impl $crate::bindings::lifecycle_world::lifecycle::Guest for $plugin {
            fn configure(config: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                <$plugin as $crate::Lifecycle>::configure(&config)
            }
        }
        $crate::bindings::lifecycle_world::export_hook!($plugin with_types_in $crate::bindings::lifecycle_world);
    };
    (Balancer $plugin:ident) => {
        impl $crate::bindings::balancer_world::balancer::Guest for $plugin {
            fn pick(endpoints: &$crate::Endpoints, subject: $crate::Subject<'_>) -> ::core::option::Option<u32> {
                <$plugin as $crate::Balancer>::pick(endpoints, subject)
            }
        }
        $crate::bindings::balancer_world::export_hook!($plugin with_types_in $crate::bindings::balancer_world);
    };
    (RequestHeaders $plugin:ident) => {
        impl $crate::bindings::request_headers_world::request_headers::Guest for $plugin {
            fn on_request_headers(head: &$crate::RequestHead) -> $crate::Decision {
                <$plugin as $crate::RequestHeaders>::on_request_headers(head)
            }
        }
        $crate::bindings::request_headers_world::export_hook!(
            $plugin with_types_in $crate::bindings::request_headers_world
        );
    };
    (ResponseHeaders $plugin:ident) => {
        impl $crate::bindings::response_headers_world::response_headers::Guest for $plugin {
            fn on_response_headers(head: &$crate::ResponseHead, request: &$crate::RequestHead) -> $crate::Decision {
                <$plugin as $crate::ResponseHeaders>::on_response_headers(head, request)
            }
        }
        $crate::bindings::response_headers_world::export_hook!(
            $plugin with_types_in $crate::bindings::response_headers_world
        );
    };
    ($other:ident $plugin:ident) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($other), "` is not a hook; the hooks are ",
            "`Lifecycle`, `Balancer`, `RequestHeaders` and `ResponseHeaders`"
        ));
    };
}
