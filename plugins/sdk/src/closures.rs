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
    (
        [$($done:tt)*] fn $method:ident($($argument:ident: $type:ty),*) -> $answer:ty, $closure:expr, $($rest:tt)*
    ) => {
        $crate::__hooks!([$($done)* fn $method(&self, $($argument: $type),*) -> $answer {
            let hook: fn($($type),*) -> $answer = $closure;
            hook($($argument),*)
        }] $($rest)*);
    };
    ([$($done:tt)*] request_headers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_request_headers(request: &$crate::Request) -> $crate::Result,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] request_body => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_request_body(request: &$crate::Request, body: &$crate::Body) -> $crate::Result<$crate::Piece>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] request_trailers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_request_trailers(request: &$crate::Request, trailers: &$crate::Trailers) -> $crate::Result,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] response_headers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_response_headers(response: &$crate::Response, request: &$crate::Request) -> $crate::Result,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] response_body => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_response_body(response: &$crate::Response, request: &$crate::Request, body: &$crate::Body)
                -> $crate::Result<$crate::Piece>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] response_trailers => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_response_trailers(response: &$crate::Response, request: &$crate::Request, trailers: &$crate::Trailers)
                -> $crate::Result,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] exchange_end => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_exchange_end(exchange: &$crate::Ended) -> $crate::Result<()>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] pick => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn pick(endpoints: &$crate::Endpoints, subject: $crate::Subject)
                -> $crate::Result<::core::option::Option<u32>>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] connect => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*] fn on_connect() -> $crate::Result<$crate::Connect>, $closure, $($rest)*);
    };
    ([$($done:tt)*] downstream_data => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_downstream_data(data: &$crate::Body) -> $crate::Result<$crate::Data>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] upstream_data => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn on_upstream_data(data: &$crate::Body) -> $crate::Result<$crate::Data>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] close => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*] fn on_close() -> $crate::Result<()>, $closure, $($rest)*);
    };
    ([$($done:tt)*] steer => $closure:expr, $($rest:tt)*) => {
        $crate::__hooks!([$($done)*]
            fn steer(binding: &$crate::steer::Binding) -> $crate::Result<::std::vec::Vec<$crate::steer::Weight>>,
            $closure, $($rest)*);
    };
    ([$($done:tt)*] $other:ident => $closure:expr, $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($other), "` is not a hook; the hooks are `request_headers`, `request_body`, ",
            "`request_trailers`, `response_headers`, `response_body`, `response_trailers`, `exchange_end`, `pick`, ",
            "`connect`, `downstream_data`, `upstream_data`, `close` and `steer`"
        ));
    };
}
