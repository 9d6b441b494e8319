//! Plugins as closures, for those that fit on a page. The same exports as `#[odin_sdk::plugin]` on a type makes, and
//! nothing more.

/// A plugin from one closure for each hook. It declares the type `Hooks`, which tests name.
///
/// The hooks are `request_headers`, `request_body`, `request_trailers`, `response_headers`, `response_body`,
/// `response_trailers`, `exchange_end`, `pick`, `connect`, `downstream_data`, `upstream_data`, `close` and `steer`; the
/// arguments are those of the methods of [`Plugin`](crate::Plugin). Closures capture nothing. A plugin with a config
/// is a type of its own.
///
/// ```
/// use odin_sdk::{Decision, Piece};
///
/// odin_sdk::hooks! {
///     request_headers => |request| {
///         request.set("x-hello", "yes")?;
///         Ok(Decision::Continue)
///     },
///     response_body => |_response, _request, body| {
///         Ok(Piece::replace(body.bytes().to_ascii_uppercase()))
///     },
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! hooks {
    ($($hook:ident => $closure:expr),+ $(,)?) => {
        /// The plugin whose hooks are closures.
        #[derive(Debug, Default)]
        pub(crate) struct Hooks;

        $crate::__hooks!([] $($hook => $closure,)+);
    };
}

/// Turns closures into methods, one after the other, and then into an `impl` block.
#[doc(hidden)]
#[macro_export]
macro_rules! __hooks {
    ([$($methods:tt)*]) => {
        #[$crate::plugin]
        impl $crate::Plugin for Hooks { $($methods)* }
    };
    ([$($done:tt)*] request_headers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_request_headers(&self, request: &$crate::Request) -> $crate::Result {
            let hook: fn(&$crate::Request) -> $crate::Result = $closure;
            hook(request)
        }] $($rest)*);
    };
    ([$($done:tt)*] request_body => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn on_request_body(&self, request: &$crate::Request, body: &$crate::Body) -> $crate::Result<$crate::Piece> {
            let hook: fn(&$crate::Request, &$crate::Body) -> $crate::Result<$crate::Piece> = $closure;
            hook(request, body)
        }] $($rest)*);
    };
    ([$($done:tt)*] request_trailers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn on_request_trailers(&self, request: &$crate::Request, trailers: &$crate::Trailers) -> $crate::Result {
            let hook: fn(&$crate::Request, &$crate::Trailers) -> $crate::Result = $closure;
            hook(request, trailers)
        }] $($rest)*);
    };
    ([$($done:tt)*] response_headers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn on_response_headers(&self, response: &$crate::Response, request: &$crate::Request) -> $crate::Result {
            let hook: fn(&$crate::Response, &$crate::Request) -> $crate::Result = $closure;
            hook(response, request)
        }] $($rest)*);
    };
    ([$($done:tt)*] response_body => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn on_response_body(
            &self,
            response: &$crate::Response,
            request: &$crate::Request,
            body: &$crate::Body,
        ) -> $crate::Result<$crate::Piece> {
            let hook: fn(&$crate::Response, &$crate::Request, &$crate::Body) -> $crate::Result<$crate::Piece> = $closure;
            hook(response, request, body)
        }] $($rest)*);
    };
    ([$($done:tt)*] response_trailers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn on_response_trailers(
            &self,
            response: &$crate::Response,
            request: &$crate::Request,
            trailers: &$crate::Trailers,
        ) -> $crate::Result {
            let hook: fn(&$crate::Response, &$crate::Request, &$crate::Trailers) -> $crate::Result = $closure;
            hook(response, request, trailers)
        }] $($rest)*);
    };
    ([$($done:tt)*] exchange_end => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_exchange_end(&self, exchange: &$crate::Ended) -> $crate::Result<()> {
            let hook: fn(&$crate::Ended) -> $crate::Result<()> = $closure;
            hook(exchange)
        }] $($rest)*);
    };
    ([$($done:tt)*] pick => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn pick(
            &self,
            endpoints: &$crate::Endpoints,
            subject: $crate::Subject,
        ) -> $crate::Result<::core::option::Option<u32>> {
            let hook: fn(&$crate::Endpoints, $crate::Subject) -> $crate::Result<::core::option::Option<u32>> = $closure;
            hook(endpoints, subject)
        }] $($rest)*);
    };
    ([$($done:tt)*] connect => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_connect(&self) -> $crate::Result<$crate::Connect> {
            let hook: fn() -> $crate::Result<$crate::Connect> = $closure;
            hook()
        }] $($rest)*);
    };
    ([$($done:tt)*] downstream_data => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_downstream_data(&self, data: &$crate::Body) -> $crate::Result<$crate::Data> {
            let hook: fn(&$crate::Body) -> $crate::Result<$crate::Data> = $closure;
            hook(data)
        }] $($rest)*);
    };
    ([$($done:tt)*] upstream_data => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_upstream_data(&self, data: &$crate::Body) -> $crate::Result<$crate::Data> {
            let hook: fn(&$crate::Body) -> $crate::Result<$crate::Data> = $closure;
            hook(data)
        }] $($rest)*);
    };
    ([$($done:tt)*] close => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)* fn on_close(&self) -> $crate::Result<()> {
            let hook: fn() -> $crate::Result<()> = $closure;
            hook()
        }] $($rest)*);
    };
    ([$($done:tt)*] steer => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*
        fn steer(&self, binding: &$crate::steer::Binding) -> $crate::Result<::std::vec::Vec<$crate::steer::Weight>> {
            let hook: fn(&$crate::steer::Binding) -> $crate::Result<::std::vec::Vec<$crate::steer::Weight>> = $closure;
            hook(binding)
        }] $($rest)*);
    };
    ([$($done:tt)*] $other:ident => $closure:expr, $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($other), "` is not a hook; the hooks are `request_headers`, `request_body`, ",
            "`request_trailers`, `response_headers`, `response_body`, `response_trailers`, `exchange_end`, `pick`, ",
            "`connect`, `downstream_data`, `upstream_data`, `close` and `steer`"
        ));
    };
}
