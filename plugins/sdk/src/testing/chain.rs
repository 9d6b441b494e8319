//! The plugins of a simulated route, each with its config, and the one place where their hooks are called.

use crate::export::{Exports, Hook, read_config};
use crate::heads::{REQUEST, RESPONSE, TRAILERS};
use crate::steer::{Binding, Weight};
use crate::testing::scene::{Active, SCENE};
use crate::{Body, Connect, Data, Error, Piece, Result, Subject, ended, endpoints};

/// What tells plugins apart: the type's path.
pub(crate) fn id<P>() -> &'static str {
    std::any::type_name::<P>()
}

/// A plugin in its place.
pub(crate) struct Link {
    id: &'static str,
    config: serde_json::Value,
    hooks: &'static [Hook],
    /// `on-failure = "open"`.
    pub(crate) open: bool,
    plugin: Box<dyn Hooks>,
}

/// The hooks of [`Plugin`](crate::Plugin), without its types.
pub(crate) trait Hooks {
    fn request_headers(&self) -> Result;
    fn request_body(&self, body: &Body) -> Result<Piece>;
    fn request_trailers(&self) -> Result;
    fn response_headers(&self) -> Result;
    fn response_body(&self, body: &Body) -> Result<Piece>;
    fn response_trailers(&self) -> Result;
    fn exchange_end(&self) -> Result<()>;
    fn choose(&self, subject: Subject) -> Result<Option<u32>>;
    fn connect(&self) -> Result<Connect>;
    fn downstream(&self, data: &Body) -> Result<Data>;
    fn upstream(&self, data: &Body) -> Result<Data>;
    fn close(&self) -> Result<()>;
    fn weigh(&self, binding: &Binding) -> Result<Vec<Weight>>;
}

impl<P: Exports> Hooks for P {
    fn request_headers(&self) -> Result {
        self.on_request_headers(REQUEST)
    }

    fn request_body(&self, body: &Body) -> Result<Piece> {
        self.on_request_body(REQUEST, body)
    }

    fn request_trailers(&self) -> Result {
        self.on_request_trailers(REQUEST, TRAILERS)
    }

    fn response_headers(&self) -> Result {
        self.on_response_headers(RESPONSE, REQUEST)
    }

    fn response_body(&self, body: &Body) -> Result<Piece> {
        self.on_response_body(RESPONSE, REQUEST, body)
    }

    fn response_trailers(&self) -> Result {
        self.on_response_trailers(RESPONSE, REQUEST, TRAILERS)
    }

    fn exchange_end(&self) -> Result<()> {
        self.on_exchange_end(ended::ENDED)
    }

    fn choose(&self, subject: Subject) -> Result<Option<u32>> {
        self.pick(endpoints::ENDPOINTS, subject)
    }

    fn connect(&self) -> Result<Connect> {
        self.on_connect()
    }

    fn downstream(&self, data: &Body) -> Result<Data> {
        self.on_downstream_data(data)
    }

    fn upstream(&self, data: &Body) -> Result<Data> {
        self.on_upstream_data(data)
    }

    fn close(&self) -> Result<()> {
        self.on_close()
    }

    fn weigh(&self, binding: &Binding) -> Result<Vec<Weight>> {
        self.steer(binding)
    }
}

/// Configures a plugin; the error is that of `configure`.
pub(crate) fn load<P: Exports>(config: impl serde::Serialize) -> Result<Link, String> {
    let config = serde_json::to_value(config).map_err(|error| error.to_string())?;
    let active = Active { id: id::<P>(), config: config.clone(), alone: true };
    let plugin = within(active, || match P::HOOKS.contains(&Hook::Lifecycle) {
        true => read_config(&config.to_string()).and_then(P::new),
        false => P::unconfigured(),
    });
    let plugin = plugin.map_err(Error::into_message)?;
    Ok(Link { id: id::<P>(), config, hooks: P::HOOKS, open: false, plugin: Box::new(plugin) })
}

/// The same for a test that means to go on.
pub(crate) fn must_load<P: Exports>(config: impl serde::Serialize) -> Link {
    load::<P>(config).unwrap_or_else(|words| panic!("{} refuses its config: {words}", id::<P>()))
}

impl Link {
    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }

    /// Calls a hook; the error's words where it fails.
    pub(crate) fn call<T>(&self, hook: impl FnOnce(&dyn Hooks) -> Result<T>) -> Result<T, String> {
        self.called(false, hook)
    }

    /// The same for a hook that is called without an exchange.
    pub(crate) fn call_alone<T>(&self, hook: impl FnOnce(&dyn Hooks) -> Result<T>) -> Result<T, String> {
        self.called(true, hook)
    }

    fn called<T>(&self, alone: bool, hook: impl FnOnce(&dyn Hooks) -> Result<T>) -> Result<T, String> {
        let active = Active { id: self.id, config: self.config.clone(), alone };
        within(active, || hook(&*self.plugin)).map_err(|error| format!("{}: {}", self.id, error.message()))
    }

    /// The decision of a hook that passes no plugin by.
    pub(crate) fn bad(&self, words: &str) -> String {
        format!("{}: {words}", self.id)
    }
}

/// Runs as this plugin. Also put back when the hook panics: the thread may run another test.
fn within<T>(active: Active, run: impl FnOnce() -> T) -> T {
    struct Back(Option<Active>);
    impl Drop for Back {
        fn drop(&mut self) {
            SCENE.with_borrow_mut(|scene| scene.active = self.0.take());
        }
    }
    let _back = Back(SCENE.with_borrow_mut(|scene| scene.active.replace(active)));
    run()
}
