//! The hooks of the heads, and of the end of an exchange.

use odin_chain::{Hook, HookState};

use super::Run;
use crate::error::Error;

impl Run {
    /// The hooks of the request's head.
    pub(crate) async fn request_headers(&self) -> Result<(), Error> {
        self.headers(Hook::RequestHeaders).await
    }

    /// The hooks of the response's head.
    pub(crate) async fn response_headers(&self) -> Result<(), Error> {
        self.headers(Hook::ResponseHeaders).await
    }

    async fn headers(&self, hook: Hook) -> Result<(), Error> {
        if !self.chain.has(hook) {
            return Ok(());
        }
        self.decide(hook, &mut *self.state().await).await
    }

    /// Some plugin wants to know of the end.
    pub(crate) fn has_end(&self) -> bool {
        self.chain.has(Hook::ExchangeEnd)
    }

    /// The hooks of the end. A failure is logged and costs nothing.
    pub(crate) async fn end(&self, state: &mut Box<HookState>) {
        state.request_open = false;
        state.response_open = false;
        for at in self.chain.due(Hook::ExchangeEnd) {
            // Logged by now.
            let _ = self.call(at, state, async |plugin, state| plugin.exchange_end(state).await).await;
        }
    }
}
