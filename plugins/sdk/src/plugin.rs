//! The one trait of a plugin: a method for each hook, and what a plugin does not write down does not exist.
//!
//! A method here adds nothing to its hook in `wit/`: it is called when the host calls the hook, and its answer is the
//! hook's answer. The defaults are never called: `#[odin_sdk::plugin]` exports only the methods that it sees.

use serde::de::DeserializeOwned;

use crate::steer::{Binding, Weight};
use crate::{Body, Connect, Data, Decision, Ended, Endpoints, Piece, Request, Response, Result, Subject, Trailers};

/// A plugin: a type with a method for each hook that it has, and `#[odin_sdk::plugin]` on the block.
///
/// One instance serves one call at a time, any instance may serve any call, and the host makes new ones now and then.
/// So `&self` holds what is worked out from the config, and nothing about an exchange: that belongs into
/// [`context`](crate::context).
///
/// An error of a hook means that the plugin failed: 502, or the exchange goes on without it when the config says
/// `on-failure = "open"`. A panic does the same, and the instance is thrown away. Changes made before it stay.
///
/// A method that is no hook does not compile, and the error names the hooks:
///
/// ```compile_fail
/// # use odin_sdk::{Decision, Plugin, Request, Result};
/// # #[derive(Default)]
/// # struct Misspelled;
/// #[odin_sdk::plugin]
/// impl Plugin for Misspelled {
///     fn on_request_header(&self, _request: &Request) -> Result {
///         Ok(Decision::Continue)
///     }
/// }
/// ```
#[allow(unused_variables, reason = "the defaults use nothing, and their names are documentation")]
pub trait Plugin: Sized + 'static {
    /// The plugin's `config` section, read by serde. `()` unless the block says otherwise.
    ///
    /// A missing section reads as `{}` (for an `Option` as `None`). With `deny_unknown_fields` the error for a
    /// misspelled key names the key and those that there are.
    ///
    /// ```
    /// # use odin_sdk::{Decision, Plugin, Request, Result};
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Settings {
    ///     #[serde(default = "ten")]
    ///     limit: usize,
    /// }
    /// # fn ten() -> usize { 10 }
    ///
    /// struct Limiter(Settings);
    ///
    /// #[odin_sdk::plugin]
    /// impl Plugin for Limiter {
    ///     type Config = Settings;
    ///
    ///     fn new(config: Settings) -> Result<Self> {
    ///         if config.limit == 0 {
    ///             Err("limit must not be zero")?;
    ///         }
    ///         Ok(Self(config))
    ///     }
    ///
    ///     fn on_request_headers(&self, request: &Request) -> Result {
    ///         Ok(if request.path().len() > self.0.limit { Decision::reject("too long") } else { Decision::Continue })
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    type Config: DeserializeOwned;

    /// Makes an instance; `Self::default()` unless the block says otherwise.
    ///
    /// Called once for every fresh instance, before any hook. An error or a panic refuses the load, or the swap, with
    /// these words; the generation before it keeps serving. There is no exchange here: no context, no outbound calls.
    fn new(config: Self::Config) -> Result<Self>;

    /// The request's head has been read and its route found; nothing was sent to the upstream. In route order, for
    /// every plugin before any body is read.
    ///
    /// May change the head, choose the cluster, answer in the upstream's place, or refuse.
    ///
    /// ```
    /// # use odin_sdk::{Decision, Plugin, Reply, Request, Result};
    /// # #[derive(Default)]
    /// # struct Teapot;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Teapot {
    ///     fn on_request_headers(&self, request: &Request) -> Result {
    ///         match request.path().as_str() {
    ///             "/coffee" => Ok(Reply::new(418).with_body("short and stout").into()),
    ///             _ => Ok(Decision::Continue),
    ///         }
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_request_headers(&self, request: &Request) -> Result<Decision> {
        Ok(Decision::Continue)
    }

    /// Bytes of the request's body, in route order. How much of it, `on_request_headers` says with
    /// [`Decision::read`]; without an answer it is [`BodyMode::Stream`](crate::BodyMode::Stream).
    ///
    /// ```
    /// # use odin_sdk::{BodyMode, Body, Decision, Piece, Plugin, Request, Result};
    /// # #[derive(Default)]
    /// # struct Measure;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Measure {
    ///     fn on_request_headers(&self, _request: &Request) -> Result {
    ///         Ok(Decision::read(BodyMode::Hold))
    ///     }
    ///
    ///     fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
    ///         request.set("x-length", body.len().to_string())?; // the head has been held for this
    ///         Ok(Piece::Pass)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        Ok(Piece::Pass)
    }

    /// The request's body has come to its end, with trailers or without. In route order.
    ///
    /// ```
    /// # use odin_sdk::{Decision, Plugin, Request, Result, Trailers};
    /// # #[derive(Default)]
    /// # struct Strip;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Strip {
    ///     fn on_request_trailers(&self, _request: &Request, trailers: &Trailers) -> Result {
    ///         trailers.remove("x-internal")?;
    ///         Ok(Decision::Continue)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_request_trailers(&self, request: &Request, trailers: &Trailers) -> Result<Decision> {
        Ok(Decision::Continue)
    }

    /// The upstream's head has been read (or a plugin has replied); the client has seen nothing yet. In reverse route
    /// order. The request is readable, as it went upstream.
    ///
    /// ```
    /// # use odin_sdk::{Decision, Plugin, Request, Response, Result};
    /// # #[derive(Default)]
    /// # struct Quiet;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Quiet {
    ///     fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
    ///         response.remove("server")?;
    ///         Ok(Decision::Continue)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_response_headers(&self, response: &Response, request: &Request) -> Result<Decision> {
        Ok(Decision::Continue)
    }

    /// Bytes of the response's body, in reverse route order; otherwise as [`on_request_body`](Self::on_request_body).
    ///
    /// ```
    /// # use odin_sdk::{Body, Piece, Plugin, Request, Response, Result};
    /// # #[derive(Default)]
    /// # struct Newline;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Newline {
    ///     fn on_response_body(&self, _response: &Response, _request: &Request, body: &Body) -> Result<Piece> {
    ///         Ok(if body.is_end() { Piece::append("\n") } else { Piece::Pass })
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_response_body(&self, response: &Response, request: &Request, body: &Body) -> Result<Piece> {
        Ok(Piece::Pass)
    }

    /// The response's body has come to its end. In reverse route order.
    ///
    /// ```
    /// # use odin_sdk::{Decision, Plugin, Request, Response, Result, Trailers, facts};
    /// # #[derive(Default)]
    /// # struct Timing;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Timing {
    ///     fn on_response_trailers(&self, _response: &Response, _request: &Request, trailers: &Trailers) -> Result {
    ///         trailers.set("x-took", format!("{:?}", facts::elapsed().unwrap_or_default()))?;
    ///         Ok(Decision::Continue)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_response_trailers(&self, response: &Response, request: &Request, trailers: &Trailers) -> Result<Decision> {
        Ok(Decision::Continue)
    }

    /// The exchange is over, whichever way it ended. In route order. A value that is set in the context here still
    /// gets into the access log. An error is logged and counted, and costs nothing else.
    ///
    /// ```
    /// # use odin_sdk::{Ended, Plugin, Result, metrics::Counter};
    /// # #[derive(Default)]
    /// # struct Failures;
    /// static FAILED: Counter = Counter::new("failed_total");
    ///
    /// #[odin_sdk::plugin]
    /// impl Plugin for Failures {
    ///     fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
    ///         if exchange.error().is_some() {
    ///             FAILED.add(1);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        Ok(())
    }

    /// Picks the endpoint for one exchange or one TCP connection: an index, or `None` for 503.
    ///
    /// When the connect fails the host asks again, and the failed endpoint is no longer eligible. An index past the
    /// end fails the exchange with 502.
    ///
    /// ```
    /// # use odin_sdk::{Endpoints, Plugin, Result, Subject};
    /// # #[derive(Default)]
    /// # struct First;
    /// #[odin_sdk::plugin]
    /// impl Plugin for First {
    ///     fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
    ///         Ok(endpoints.nth_eligible(0))
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn pick(&self, endpoints: &Endpoints, subject: Subject) -> Result<Option<u32>> {
        Ok(None)
    }

    /// A TCP connection begins, before an endpoint is picked. In the order of the listener's plugins.
    ///
    /// ```
    /// # use odin_sdk::{Connect, Plugin, Result, facts};
    /// # #[derive(Default)]
    /// # struct LocalOnly;
    /// #[odin_sdk::plugin]
    /// impl Plugin for LocalOnly {
    ///     fn on_connect(&self) -> Result<Connect> {
    ///         match facts::client_address() {
    ///             Some(address) if address.ip().is_loopback() => Ok(Connect::Continue),
    ///             _ => Ok(Connect::reject("not from here")),
    ///         }
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_connect(&self) -> Result<Connect> {
        Ok(Connect::Continue)
    }

    /// Bytes from the client of a TCP connection. A plugin without it costs the relay nothing.
    ///
    /// ```
    /// # use odin_sdk::{Body, Data, Plugin, Result};
    /// # #[derive(Default)]
    /// # struct OnlyTls;
    /// #[odin_sdk::plugin]
    /// impl Plugin for OnlyTls {
    ///     fn on_downstream_data(&self, data: &Body) -> Result<Data> {
    ///         Ok(if data.read(0, 1) == [0x16] { Data::Skip } else { Data::cut("not TLS") })
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_downstream_data(&self, data: &Body) -> Result<Data> {
        Ok(Data::Pass)
    }

    /// Bytes from the endpoint of a TCP connection, in reverse order.
    ///
    /// ```
    /// # use odin_sdk::{Body, Data, Plugin, Result, context::Key};
    /// # #[derive(Default)]
    /// # struct Banner;
    /// static BANNER: Key<Vec<u8>> = Key::new("banner");
    ///
    /// #[odin_sdk::plugin]
    /// impl Plugin for Banner {
    ///     fn on_upstream_data(&self, data: &Body) -> Result<Data> {
    ///         BANNER.set(&data.read(0, 64))?; // for the access log
    ///         Ok(Data::Skip)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_upstream_data(&self, data: &Body) -> Result<Data> {
        Ok(Data::Pass)
    }

    /// A TCP connection is over; called once for every connection whose `on_connect` was called.
    ///
    /// ```
    /// # use odin_sdk::{Plugin, Result, facts, info};
    /// # #[derive(Default)]
    /// # struct Account;
    /// #[odin_sdk::plugin]
    /// impl Plugin for Account {
    ///     fn on_close(&self) -> Result<()> {
    ///         info!("{:?} bytes in {:?}", facts::bytes_received(), facts::elapsed());
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn on_close(&self) -> Result<()> {
        Ok(())
    }

    /// How the new connections of a binding are shared out, where BPF steers them: asked when bindings change, never for
    /// a connection. Nothing means evenly over the workers of the binding's own listener.
    ///
    /// A listener or worker that there is not, weights that add up to 0, or an error: the binding keeps the shares that
    /// it had, and a new one is spread evenly. There is no exchange here, and outbound calls are unavailable.
    ///
    /// ```
    /// # use odin_sdk::{Plugin, Result, steer::{Binding, Weight}};
    /// # #[derive(Default)]
    /// # struct SpareTheFirst;
    /// #[odin_sdk::plugin]
    /// impl Plugin for SpareTheFirst {
    ///     fn steer(&self, binding: &Binding) -> Result<Vec<Weight>> {
    ///         Ok((1..binding.workers).map(|worker| Weight::worker(&binding.listener, worker, 1)).collect())
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    fn steer(&self, binding: &Binding) -> Result<Vec<Weight>> {
        Ok(Vec::new())
    }
}
