//! The hooks of a TCP connection: its begin and end, and the bytes of each direction on their way through the plugins
//! that look at them.

use std::time::Instant;

use bytes::Bytes;
use odin_chain::{Flow, Hook};

use super::Run;
use crate::error::Error;

/// The hooks of the begin, in the listener's order. The error says why the connection must be closed.
pub(crate) async fn connect(run: &Run) -> Result<(), Error> {
    if !run.chain.has(Hook::Connect) {
        return Ok(());
    }
    let mut state = run.state().await;
    for at in run.chain.due(Hook::Connect) {
        run.chain.connects(at);
        let answer = run.call(at, &mut state, async |plugin, state| plugin.connect(state).await).await;
        run.chain.connected(at, answer).map_err(|end| run.ended(end))?;
    }
    Ok(())
}

/// The hooks of the end, for the plugins that saw the begin. A failure is logged and costs nothing.
pub(crate) async fn close(run: &Run) {
    let mut state = run.state().await;
    state.request_open = false;
    for at in run.chain.due_at_close() {
        // Logged by now.
        let _ = run.call(at, &mut state, async |plugin, state| plugin.close(state).await).await;
    }
}

/// The plugins that look at one direction.
pub(crate) struct Through {
    flow: Flow,
    came: u64,
}

impl Run {
    /// The plugins that look at what the client sends, and those that look at what the endpoint sends.
    pub(crate) fn through(&self) -> (Through, Through) {
        let through = |hook| Through { flow: Flow::new(&self.chain, hook, true, Instant::now()), came: 0 };
        (through(Hook::DownstreamData), through(Hook::UpstreamData))
    }
}

impl Through {
    /// No plugin looks at this direction.
    pub(crate) fn is_empty(&self) -> bool {
        self.flow.is_idle()
    }

    /// Shows the plugins a piece; answers what goes on, which may be nothing.
    pub(crate) async fn take(&mut self, run: &Run, piece: Bytes, end: bool) -> Result<Bytes, Error> {
        self.came += piece.len() as u64;
        if self.is_empty() {
            return Ok(piece);
        }
        let mut state = run.state().await;
        let step = self.flow.arrived(piece, end);
        run.go_on(&mut self.flow, step, self.came, &mut state).await
    }
}
