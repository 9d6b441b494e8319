//! The hooks of a TCP connection: its begin and end, and the bytes of each direction on their way through the plugins
//! that look at them.

use bytes::Bytes;
use odin_runtime::{BodyMode, ConnectDecision, Hook};

use super::Run;
use super::stage::{Flow, Stage};
use crate::error::{Error, Kind};

/// The hooks of the begin, in the listener's order. The error says why the connection must be closed.
pub(crate) async fn connect(run: &Run) -> Result<(), Error> {
    if !run.exports(Hook::Connect) {
        return Ok(());
    }
    let mut state = run.state().await;
    for link in run.chain.iter().filter(|link| link.plugin.hooks().has(Hook::Connect)) {
        link.connected.set(true);
        match link.call(&mut state, async |plugin, state| plugin.connect(state).await).await? {
            None | Some(ConnectDecision::Continue) => {}
            Some(ConnectDecision::SkipData) => {
                link.request.set(BodyMode::Skip);
                link.response.set(BodyMode::Skip);
            }
            Some(ConnectDecision::Reject(reason)) => return Err(link.ends(Kind::Rejected, reason)),
        }
    }
    Ok(())
}

/// The hooks of the end, for the plugins that saw the begin. A failure is logged and costs nothing.
pub(crate) async fn close(run: &Run) {
    let mut state = run.state().await;
    state.request_open = false;
    for link in run.chain.iter().filter(|link| link.connected.get()) {
        link.tell(&mut state, async |plugin, state| plugin.close(state).await).await;
    }
}

/// The plugins that look at one direction.
pub(crate) struct Through {
    flow: Flow,
    stages: Vec<Stage>,
    came: u64,
}

impl Run {
    /// The plugins that look at what the client sends, and those that look at what the endpoint sends.
    pub(crate) fn through(&self) -> (Through, Through) {
        let through = |flow| Through { flow, stages: self.stages(flow, true), came: 0 };
        (through(Flow::FromDownstream), through(Flow::FromUpstream))
    }
}

impl Through {
    /// No plugin looks at this direction.
    pub(crate) fn is_empty(&self) -> bool {
        self.stages.iter().all(Stage::is_done)
    }

    /// Shows the plugins a piece; answers what goes on, which may be nothing.
    pub(crate) async fn take(&mut self, run: &Run, piece: Bytes, end: bool) -> Result<Bytes, Error> {
        self.came += piece.len() as u64;
        if self.is_empty() {
            return Ok(piece);
        }
        let mut state = run.state().await;
        match self.flow.forward() {
            true => state.facts.bytes_received = self.came,
            false => state.facts.bytes_sent = self.came,
        }
        let mut piece = piece;
        for stage in &mut self.stages {
            piece = stage.take(run, self.flow, &mut state, piece, end).await?;
        }
        Ok(piece)
    }
}
