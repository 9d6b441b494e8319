//! What `#[odin_sdk::plugin]` puts behind an `impl` block: the exports of the hooks that the block has, and the one
//! instance that serves them.
//!
//! A hook that a plugin does not have must leave no trace in the module: no export, no import, no parser.

use std::cell::OnceCell;
use std::thread::LocalKey;

use crate::{Error, Plugin, Result};

/// The hook interfaces, as `wit/worlds.wit` names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the interfaces")]
pub enum Hook {
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    ExchangeEnd,
    Balancer,
    Connection,
    DownstreamData,
    UpstreamData,
    Steer,
    Lifecycle,
}

/// What the attribute knows of a plugin.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no plugin yet",
    note = "put `#[odin_sdk::plugin]` on its `impl Plugin` block"
)]
pub trait Exports: Plugin {
    /// The hook interfaces that it exports.
    const HOOKS: &'static [Hook];

    /// Where its instance lives.
    fn instance() -> &'static LocalKey<OnceCell<Self>>;

    /// An instance for a plugin that does not export `configure`.
    fn unconfigured() -> Result<Self>;
}

/// Reads the config section. A missing one (`null`) is none for a type that knows none, and otherwise an empty one.
pub fn read_config<T: serde::de::DeserializeOwned>(config: &str) -> Result<T> {
    let read = |text| serde_json::from_str(text).map_err(|error| Error::from(error).context("config"));
    match read(config) {
        Err(_) if config == "null" => read("{}"),
        answer => answer,
    }
}

/// The hook `configure`.
pub fn configure<P: Exports>(config: &str) -> Result<(), String> {
    crate::panics::report();
    let plugin = read_config(config).and_then(P::new).map_err(Error::into_message)?;
    P::instance().with(|instance| instance.set(plugin)).map_err(|_| "configured twice".to_owned())
}

/// Any other hook.
pub fn call<P: Exports, T>(hook: impl FnOnce(&P) -> Result<T>) -> Result<T, String> {
    P::instance()
        .with(|instance| {
            let plugin = match instance.get() {
                Some(plugin) => plugin,
                None => {
                    crate::panics::report();
                    let fresh = P::unconfigured()?;
                    instance.get_or_init(|| fresh)
                }
            };
            hook(plugin)
        })
        .map_err(Error::into_message)
}

#[cfg(target_arch = "wasm32")]
pub use guest::*;

/// The calls as they arrive from the host.
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, reason = "the names are those of the hooks")]
mod guest {
    use super::{Exports, call};
    use crate::heads::{REQUEST, RESPONSE, TRAILERS};
    use crate::{Body, Connect, Data, Result, Subject, ended, endpoints, steer};

    pub use crate::bindings::balancer_world::balancer::Subject as WitSubject;
    pub use crate::bindings::connection_world::connection::ConnectDecision;
    pub use crate::bindings::downstream_data_world::downstream_data::DataDecision as DownstreamDecision;
    pub use crate::bindings::imports::types::{Decision, PieceDecision};
    pub use crate::bindings::steer_world::steer::{Binding as WitBinding, Weight as WitWeight};
    pub use crate::bindings::upstream_data_world::upstream_data::DataDecision as UpstreamDecision;

    type Answer<T> = Result<T, String>;

    pub fn request_headers<P: Exports>() -> Answer<Decision> {
        call(|plugin: &P| plugin.on_request_headers(REQUEST)).map(Into::into)
    }

    pub fn request_body<P: Exports>(length: u32, end: bool) -> Answer<PieceDecision> {
        call(|plugin: &P| plugin.on_request_body(REQUEST, &Body::new(length, end))).map(Into::into)
    }

    pub fn request_trailers<P: Exports>() -> Answer<Decision> {
        call(|plugin: &P| plugin.on_request_trailers(REQUEST, TRAILERS)).map(Into::into)
    }

    pub fn response_headers<P: Exports>() -> Answer<Decision> {
        call(|plugin: &P| plugin.on_response_headers(RESPONSE, REQUEST)).map(Into::into)
    }

    pub fn response_body<P: Exports>(length: u32, end: bool) -> Answer<PieceDecision> {
        call(|plugin: &P| plugin.on_response_body(RESPONSE, REQUEST, &Body::new(length, end))).map(Into::into)
    }

    pub fn response_trailers<P: Exports>() -> Answer<Decision> {
        call(|plugin: &P| plugin.on_response_trailers(RESPONSE, REQUEST, TRAILERS)).map(Into::into)
    }

    pub fn exchange_end<P: Exports>() -> Answer<()> {
        call(|plugin: &P| plugin.on_exchange_end(ended::ENDED))
    }

    pub fn pick<P: Exports>(subject: WitSubject) -> Answer<Option<u32>> {
        let subject = match subject {
            WitSubject::Request => Subject::Request,
            WitSubject::Connection => Subject::Connection,
        };
        call(|plugin: &P| plugin.pick(endpoints::ENDPOINTS, subject))
    }

    pub fn connect<P: Exports>() -> Answer<ConnectDecision> {
        use ConnectDecision as To;
        Ok(match call(|plugin: &P| plugin.on_connect())? {
            Connect::Continue => To::Continue,
            Connect::SkipData => To::SkipData,
            Connect::Reject(reason) => To::Reject(reason),
        })
    }

    pub fn close<P: Exports>() -> Answer<()> {
        call(|plugin: &P| plugin.on_close())
    }

    macro_rules! data {
        ($name:ident, $method:ident, $decision:ident) => {
            pub fn $name<P: Exports>(length: u32, end: bool) -> Answer<$decision> {
                use $decision as To;
                Ok(match call(|plugin: &P| plugin.$method(&Body::new(length, end)))? {
                    Data::Pass => To::Pass,
                    Data::Replace(bytes) => To::Replace(bytes),
                    Data::Append(bytes) => To::Append(bytes),
                    Data::Hold => To::Hold,
                    Data::Skip => To::Skip,
                    Data::Cut(reason) => To::Cut(reason),
                })
            }
        };
    }

    data!(downstream, on_downstream_data, DownstreamDecision);
    data!(upstream, on_upstream_data, UpstreamDecision);

    pub fn weigh<P: Exports>(binding: WitBinding) -> Answer<Vec<WitWeight>> {
        let WitBinding { address, listener, workers, listeners } = binding;
        let binding = steer::Binding { address, listener, workers, listeners };
        let weights = call(|plugin: &P| plugin.steer(&binding))?;
        let wit = |steer::Weight { listener, worker, weight }| WitWeight { listener, worker, weight };
        Ok(weights.into_iter().map(wit).collect())
    }
}

/// What the attribute calls: `__export!(Type, Configured | Unconfigured; Hook Hook …)`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ident, $configured:ident; $($hook:ident)*) => {
        impl $crate::__private::Exports for $plugin {
            const HOOKS: &'static [$crate::__private::Hook] = &[$($crate::__private::Hook::$hook),*];

            fn instance() -> &'static ::std::thread::LocalKey<::core::cell::OnceCell<Self>> {
                ::std::thread_local! {
                    static INSTANCE: ::core::cell::OnceCell<$plugin> = const { ::core::cell::OnceCell::new() };
                }
                &INSTANCE
            }

            fn unconfigured() -> $crate::Result<Self> {
                $crate::__unconfigured!($configured)
            }
        }

        // In a native build nobody else makes one, and the compiler would call the plugin unused.
        const _: fn(<$plugin as $crate::Plugin>::Config) -> $crate::Result<$plugin> = <$plugin as $crate::Plugin>::new;

        $($crate::__export_hook!($hook $plugin);)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __unconfigured {
    (Configured) => {
        ::core::result::Result::Err($crate::Error::new("called before configure"))
    };
    (Unconfigured) => {
        <Self as $crate::Plugin>::new(())
    };
}

/// The export of one hook interface. In a native build, for tests, there is none.
#[doc(hidden)]
#[macro_export]
#[cfg(not(target_arch = "wasm32"))]
macro_rules! __export_hook {
    ($hook:ident $plugin:ident) => {};
}

/// The export of one hook interface.
#[doc(hidden)]
#[macro_export]
#[cfg(target_arch = "wasm32")]
macro_rules! __export_hook {
    (Lifecycle $plugin:ident) => {
        $crate::__export_as! { $plugin lifecycle_world lifecycle
            fn configure(config: ::std::string::String) -> () {
                $crate::__private::configure::<$plugin>(&config)
            }
        }
    };
    (RequestHeaders $plugin:ident) => {
        $crate::__export_as! { $plugin request_headers_world request_headers
            fn on_request_headers() -> $crate::__private::Decision {
                $crate::__private::request_headers::<$plugin>()
            }
        }
    };
    (RequestBody $plugin:ident) => {
        $crate::__export_as! { $plugin request_body_world request_body
            fn on_request_body(length: u32, end: bool) -> $crate::__private::PieceDecision {
                $crate::__private::request_body::<$plugin>(length, end)
            }
        }
    };
    (RequestTrailers $plugin:ident) => {
        $crate::__export_as! { $plugin request_trailers_world request_trailers
            fn on_request_trailers() -> $crate::__private::Decision {
                $crate::__private::request_trailers::<$plugin>()
            }
        }
    };
    (ResponseHeaders $plugin:ident) => {
        $crate::__export_as! { $plugin response_headers_world response_headers
            fn on_response_headers() -> $crate::__private::Decision {
                $crate::__private::response_headers::<$plugin>()
            }
        }
    };
    (ResponseBody $plugin:ident) => {
        $crate::__export_as! { $plugin response_body_world response_body
            fn on_response_body(length: u32, end: bool) -> $crate::__private::PieceDecision {
                $crate::__private::response_body::<$plugin>(length, end)
            }
        }
    };
    (ResponseTrailers $plugin:ident) => {
        $crate::__export_as! { $plugin response_trailers_world response_trailers
            fn on_response_trailers() -> $crate::__private::Decision {
                $crate::__private::response_trailers::<$plugin>()
            }
        }
    };
    (ExchangeEnd $plugin:ident) => {
        $crate::__export_as! { $plugin exchange_end_world exchange_end
            fn on_exchange_end() -> () {
                $crate::__private::exchange_end::<$plugin>()
            }
        }
    };
    (Balancer $plugin:ident) => {
        $crate::__export_as! { $plugin balancer_world balancer
            fn pick(subject: $crate::__private::WitSubject) -> ::core::option::Option<u32> {
                $crate::__private::pick::<$plugin>(subject)
            }
        }
    };
    (Connection $plugin:ident) => {
        $crate::__export_as! { $plugin connection_world connection
            fn on_connect() -> $crate::__private::ConnectDecision {
                $crate::__private::connect::<$plugin>()
            }
            fn on_close() -> () {
                $crate::__private::close::<$plugin>()
            }
        }
    };
    (DownstreamData $plugin:ident) => {
        $crate::__export_as! { $plugin downstream_data_world downstream_data
            fn on_downstream_data(length: u32, end: bool) -> $crate::__private::DownstreamDecision {
                $crate::__private::downstream::<$plugin>(length, end)
            }
        }
    };
    (UpstreamData $plugin:ident) => {
        $crate::__export_as! { $plugin upstream_data_world upstream_data
            fn on_upstream_data(length: u32, end: bool) -> $crate::__private::UpstreamDecision {
                $crate::__private::upstream::<$plugin>(length, end)
            }
        }
    };
    (Steer $plugin:ident) => {
        $crate::__export_as! { $plugin steer_world steer
            fn weigh(binding: $crate::__private::WitBinding) -> ::std::vec::Vec<$crate::__private::WitWeight> {
                $crate::__private::weigh::<$plugin>(binding)
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(target_arch = "wasm32")]
macro_rules! __export_as {
    ($plugin:ident $world:ident $interface:ident
        $(fn $function:ident($($argument:ident: $type:ty),*) -> $answer:ty $body:block)+
    ) => {
        impl $crate::bindings::$world::$interface::Guest for $plugin {
            $(fn $function($($argument: $type),*) -> ::core::result::Result<$answer, ::std::string::String> $body)+
        }
        $crate::bindings::$world::export_hook!($plugin with_types_in $crate::bindings::$world);
    };
}
