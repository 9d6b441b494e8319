//! The end of an exchange, for the plugins that want to know of it.

use odin_runtime::{Hook, HookState};

use super::Run;

impl Run {
    /// Some plugin wants to know of the end.
    pub(crate) fn has_end(&self) -> bool {
        self.exports(Hook::ExchangeEnd)
    }
}

/// The hooks of the end, in route order. A failure is logged and costs nothing.
pub(crate) async fn end(run: &Run, state: &mut Box<HookState>) {
    state.request_open = false;
    state.response_open = false;
    for link in run.chain.iter().filter(|link| link.plugin.hooks().has(Hook::ExchangeEnd)) {
        link.tell(state, async |plugin, state| plugin.exchange_end(state).await).await;
    }
}
