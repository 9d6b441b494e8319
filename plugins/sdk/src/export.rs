//! What `#[odin_sdk::plugin]` puts behind an `impl` block: the exports of the hooks that the block has, and the one
//! instance that serves them.
//!
//! A hook that a plugin does not have must leave no trace in the module: no export, no import, no parser.

use std::cell::OnceCell;
use std::thread::LocalKey;

pub use crate::bindings::Hook;
use crate::{Error, Plugin, Result};

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

/// A plugin as the host calls it.
#[cfg(target_arch = "wasm32")]
#[derive(Debug)]
pub struct Guest<P>(std::marker::PhantomData<P>);

/// The calls as they arrive from the host.
#[cfg(target_arch = "wasm32")]
mod guest {
    use super::{Exports, Guest, call, configure};
    use crate::bindings as hook;
    use crate::bindings::imports::types::{Decision, PieceDecision};
    use crate::heads::{REQUEST, RESPONSE, TRAILERS};
    use crate::{Body, Connect, Data, Result, Subject, ended, endpoints, steer};
    use hook::Balancer::balancer::Subject as WitSubject;
    use hook::Connection::connection::ConnectDecision;
    use hook::Steer::steer::{Binding, Weight};

    type Answer<T> = Result<T, String>;

    impl<P: Exports> hook::Lifecycle::lifecycle::Guest for Guest<P> {
        fn configure(config: String) -> Answer<()> {
            configure::<P>(&config)
        }
    }

    impl<P: Exports> hook::RequestHeaders::request_headers::Guest for Guest<P> {
        fn on_request_headers() -> Answer<Decision> {
            call(|plugin: &P| plugin.on_request_headers(REQUEST)).map(Into::into)
        }
    }

    impl<P: Exports> hook::RequestBody::request_body::Guest for Guest<P> {
        fn on_request_body(length: u32, end: bool) -> Answer<PieceDecision> {
            call(|plugin: &P| plugin.on_request_body(REQUEST, &Body::new(length, end))).map(Into::into)
        }
    }

    impl<P: Exports> hook::RequestTrailers::request_trailers::Guest for Guest<P> {
        fn on_request_trailers() -> Answer<Decision> {
            call(|plugin: &P| plugin.on_request_trailers(REQUEST, TRAILERS)).map(Into::into)
        }
    }

    impl<P: Exports> hook::ResponseHeaders::response_headers::Guest for Guest<P> {
        fn on_response_headers() -> Answer<Decision> {
            call(|plugin: &P| plugin.on_response_headers(RESPONSE, REQUEST)).map(Into::into)
        }
    }

    impl<P: Exports> hook::ResponseBody::response_body::Guest for Guest<P> {
        fn on_response_body(length: u32, end: bool) -> Answer<PieceDecision> {
            call(|plugin: &P| plugin.on_response_body(RESPONSE, REQUEST, &Body::new(length, end))).map(Into::into)
        }
    }

    impl<P: Exports> hook::ResponseTrailers::response_trailers::Guest for Guest<P> {
        fn on_response_trailers() -> Answer<Decision> {
            call(|plugin: &P| plugin.on_response_trailers(RESPONSE, REQUEST, TRAILERS)).map(Into::into)
        }
    }

    impl<P: Exports> hook::ExchangeEnd::exchange_end::Guest for Guest<P> {
        fn on_exchange_end() -> Answer<()> {
            call(|plugin: &P| plugin.on_exchange_end(ended::ENDED))
        }
    }

    impl<P: Exports> hook::Balancer::balancer::Guest for Guest<P> {
        fn pick(subject: WitSubject) -> Answer<Option<u32>> {
            let subject = match subject {
                WitSubject::Request => Subject::Request,
                WitSubject::Connection => Subject::Connection,
            };
            call(|plugin: &P| plugin.pick(endpoints::ENDPOINTS, subject))
        }
    }

    impl<P: Exports> hook::Connection::connection::Guest for Guest<P> {
        fn on_connect() -> Answer<ConnectDecision> {
            Ok(match call(|plugin: &P| plugin.on_connect())? {
                Connect::Continue => ConnectDecision::Continue,
                Connect::SkipData => ConnectDecision::SkipData,
                Connect::Reject(reason) => ConnectDecision::Reject(reason),
            })
        }

        fn on_close() -> Answer<()> {
            call(|plugin: &P| plugin.on_close())
        }
    }

    macro_rules! data {
        ($hook:ident, $interface:ident, $method:ident) => {
            impl<P: Exports> hook::$hook::$interface::Guest for Guest<P> {
                fn $method(length: u32, end: bool) -> Answer<hook::$hook::$interface::DataDecision> {
                    use hook::$hook::$interface::DataDecision as To;
                    Ok(match call(|plugin: &P| plugin.$method(&Body::new(length, end)))? {
                        Data::Pass => To::Pass,
                        Data::Replace(bytes) => To::Replace(bytes),
                        Data::Append(bytes) => To::Append(bytes),
                        Data::Hold => To::Hold,
                        Data::Skip => To::Skip,
                        Data::Cut(reason) => To::Cut(reason),
                    })
                }
            }
        };
    }

    data!(DownstreamData, downstream_data, on_downstream_data);
    data!(UpstreamData, upstream_data, on_upstream_data);

    impl<P: Exports> hook::Steer::steer::Guest for Guest<P> {
        fn weigh(binding: Binding) -> Answer<Vec<Weight>> {
            let Binding { address, listener, workers, listeners } = binding;
            let binding = steer::Binding { address, listener, workers, listeners };
            let weights = call(|plugin: &P| plugin.steer(&binding))?;
            let wit = |steer::Weight { listener, worker, weight }| Weight { listener, worker, weight };
            Ok(weights.into_iter().map(wit).collect())
        }
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

        $crate::__export_hooks!($plugin; $($hook)*);
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

/// The exports of the hook interfaces. In a native build, for tests, there is none.
#[doc(hidden)]
#[macro_export]
#[cfg(not(target_arch = "wasm32"))]
macro_rules! __export_hooks {
    ($plugin:ident; $($hook:ident)*) => {};
}

/// The exports of the hook interfaces.
#[doc(hidden)]
#[macro_export]
#[cfg(target_arch = "wasm32")]
macro_rules! __export_hooks {
    ($plugin:ident; $($hook:ident)*) => {
        const _: () = {
            type Guest = $crate::__private::Guest<$plugin>;
            $($crate::bindings::$hook::export_hook!(Guest with_types_in $crate::bindings::$hook);)*
        };
    };
}
