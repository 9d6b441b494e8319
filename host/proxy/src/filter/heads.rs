//! The hooks that decide about a whole message: of its head and of its trailers. In route order on the way in, in
//! reverse on the way out.

use odin_runtime::{BodyMode, Decision, Hook, HookState};

use super::{Link, Run};
use crate::error::{Error, Kind};

/// The request hooks. The error of a plugin that answers holds its reply.
pub(crate) async fn request_headers(run: &Run) -> Result<(), Error> {
    if !run.exports(Hook::RequestHeaders) {
        return Ok(());
    }
    let mut state = run.state().await;
    for link in run.chain.iter().filter(|link| link.plugin.hooks().has(Hook::RequestHeaders)) {
        let decided = link.call(&mut state, async |plugin, state| plugin.request_headers(state).await).await?;
        if let Some(mode) = link.obey(decided)? {
            link.ask_for_request(mode);
        }
    }
    Ok(())
}

/// The response hooks. The error of a plugin that answers holds its reply.
pub(crate) async fn response_headers(run: &Run) -> Result<(), Error> {
    if !run.exports(Hook::ResponseHeaders) {
        return Ok(());
    }
    let mut state = run.state().await;
    for link in run.chain.iter().rev().filter(|link| link.plugin.hooks().has(Hook::ResponseHeaders)) {
        let decided = link.call(&mut state, async |plugin, state| plugin.response_headers(state).await).await?;
        if let Some(mode) = link.obey(decided)? {
            link.ask_for_response(mode);
        }
    }
    Ok(())
}

/// The trailer hooks of the request; `state.trailers` holds what came.
pub(super) async fn request_trailers(run: &Run, state: &mut Box<HookState>) -> Result<(), Error> {
    for link in run.chain.iter().filter(|link| link.plugin.hooks().has(Hook::RequestTrailers)) {
        let decided = link.call(state, async |plugin, state| plugin.request_trailers(state).await).await?;
        link.obey(decided)?;
    }
    Ok(())
}

/// The trailer hooks of the response; `state.trailers` holds what came.
pub(super) async fn response_trailers(run: &Run, state: &mut Box<HookState>) -> Result<(), Error> {
    for link in run.chain.iter().rev().filter(|link| link.plugin.hooks().has(Hook::ResponseTrailers)) {
        let decided = link.call(state, async |plugin, state| plugin.response_trailers(state).await).await?;
        link.obey(decided)?;
    }
    Ok(())
}

impl Link {
    /// What a decision asks for of the body, unless it ends the exchange. A hook that failed and is passed over decided
    /// nothing.
    fn obey(&self, decided: Option<Decision>) -> Result<Option<BodyMode>, Error> {
        match decided {
            None | Some(Decision::Continue) => Ok(None),
            Some(Decision::Read(mode)) => Ok(Some(mode)),
            Some(Decision::Reply(reply)) => Err(Error::replied(reply, self.name())),
            Some(Decision::Reject(reason)) => Err(self.ends(Kind::Rejected, reason)),
            Some(Decision::Cut(reason)) => Err(self.ends(Kind::Cut, reason)),
        }
    }

    pub(super) fn ends(&self, kind: Kind, reason: String) -> Error {
        let words = format!("plugin {:?}: {}", self.name(), self.plugin.said(reason));
        Error::new(kind, words).by(self.name())
    }

    fn ask_for_request(&self, mode: BodyMode) {
        if self.plugin.hooks().has(Hook::RequestBody) {
            self.request.set(mode);
        }
    }

    fn ask_for_response(&self, mode: BodyMode) {
        if self.plugin.hooks().has(Hook::ResponseBody) {
            self.response.set(mode);
        }
    }
}
