//! A body on its way through the plugins that look at it. Nothing is read that the receiver does not ask for, so a slow
//! receiver slows the sender down, plugins or not.
//!
//! Must never end a body whole that was not whole, and never let bytes pass a plugin that has not decided about them.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use odin_chain::{Due, Flow, Hook, HookState, Step};
use odin_runtime::PinnedPlugin;
use tokio::task::JoinHandle;

use super::Run;
use crate::error::{Error, Kind};
use crate::http::body::{Body, Source};
use crate::http::upload::Upload;
use crate::transport::timer::{Deadline, Elapsed};

/// Whose body it is.
#[derive(Clone)]
pub(crate) enum Side {
    /// The client's, with what its exchange wants to know about it when there is one.
    Request(Option<Rc<Upload>>),
    /// The upstream's, or a plugin's own.
    Response,
}

impl Side {
    fn hooks(&self) -> (Hook, Hook) {
        match self {
            Side::Request(_) => (Hook::RequestBody, Hook::RequestTrailers),
            Side::Response => (Hook::ResponseBody, Hook::ResponseTrailers),
        }
    }
}

/// Lets the body flow through the plugins that asked for it. Waits for all of it when one of them holds the head.
pub(crate) async fn attach(run: &Rc<Run>, side: Side, body: Body, deadline: &mut Deadline) -> Result<Body, Error> {
    let has_body = !body.is_end_stream();
    let (hook, of_trailers) = side.hooks();
    let flow = Flow::new(&run.chain, hook, has_body, Instant::now());
    let trailers = has_body && run.chain.has(of_trailers);
    if flow.is_idle() && !trailers {
        return Ok(body);
    }
    let mut hooked = HookedBody {
        wait: patience(&flow),
        source: body,
        run: run.clone(),
        side,
        flow: Some(flow),
        trailers,
        work: None,
        came: 0,
        ready: (None, None),
        finished: false,
    };
    if !hooked.holds_head() {
        return Ok(Body::from(hooked));
    }
    let late = if hook == Hook::RequestBody { Kind::BodyTimeout } else { Kind::UpstreamTimeout };
    let Ok(collected) = deadline.race_limit(hooked.collect()).await else {
        return Err(Error::new(late, "the exchange took too long"));
    };
    let (data, trailers) = collected?;
    if !hooked.finished {
        hooked.ready = (Some(data).filter(|data| !data.is_empty()), trailers);
        return Ok(Body::from(hooked));
    }
    Ok(match (data.is_empty(), trailers) {
        (true, None) => Body::Empty,
        (_, trailers) => Body::Full(data, trailers.map(Box::new)),
    })
}

/// When the first plugin that waits for the whole gives up.
fn patience(flow: &Flow) -> Option<Deadline> {
    let first = flow.gives_up_at()?;
    let mut deadline = Deadline::default();
    // No time at all would mean for ever.
    deadline.set(first.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    Some(deadline)
}

impl Run {
    /// Asks the plugins that are due until something may go on.
    pub(super) async fn go_on(
        &self,
        flow: &mut Flow,
        mut step: Step<Error>,
        came: u64,
        state: &mut Box<HookState>,
    ) -> Result<Bytes, Error> {
        let hook = flow.hook();
        // Also when no plugin is asked about the piece: the hooks of trailers, and those of the other side, read it.
        match hook {
            Hook::RequestBody | Hook::DownstreamData => state.facts.bytes_received = came,
            _ => state.facts.bytes_sent = came,
        }
        loop {
            match step.map_err(|end| self.ended(end))? {
                Due::Send(bytes) => return Ok(bytes),
                Due::Ask { filter, piece, end } => {
                    state.piece = piece;
                    let asked = async |plugin: &PinnedPlugin, state: &mut _| plugin.piece(hook, state, end).await;
                    let answer = self.call(filter, state, asked).await;
                    step = flow.answered(std::mem::take(&mut state.piece), answer);
                }
            }
        }
    }
}

/// See the module.
pub(crate) struct HookedBody {
    source: Body,
    run: Rc<Run>,
    side: Side,
    /// None while `work` has it.
    flow: Option<Flow>,
    /// Some plugin wants to see the trailers.
    trailers: bool,
    /// The hooks that a piece is going through.
    work: Option<Work>,
    /// Runs out while a plugin waits for the whole.
    wait: Option<Deadline>,
    /// Bytes that came from the source.
    came: u64,
    /// What the plugins let go, and what follows it.
    ready: (Option<Bytes>, Option<HeaderMap>),
    finished: bool,
}

/// A piece that went through all hooks.
struct Done {
    flow: Option<Flow>,
    result: Result<(Bytes, Option<HeaderMap>), Error>,
    end: bool,
}

/// What came from the source.
enum Arrived {
    Piece {
        data: Bytes,
        end: bool,
    },
    End(HeaderMap),
    /// The whole did not come in time.
    Late,
}

impl HookedBody {
    fn holds_head(&self) -> bool {
        self.flow.as_ref().is_none_or(Flow::holds_head)
    }

    /// Everything up to the end, or until nobody holds the head any more.
    async fn collect(&mut self) -> Result<(Bytes, Option<HeaderMap>), Error> {
        let (mut pieces, mut trailers) = (BytesMut::new(), None);
        while !self.finished && self.holds_head() {
            match poll_fn(|cx| self.poll_frame(cx)).await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => pieces.extend_from_slice(&data),
                Some(Err(frame)) => trailers = frame.into_trailers().ok(),
                None => break,
            }
        }
        if let Some(data) = self.ready.0.take() {
            pieces.extend_from_slice(&data);
        }
        Ok((pieces.freeze(), trailers.or_else(|| self.ready.1.take())))
    }
}

impl Source for HookedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if let Some(data) = self.ready.0.take() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(trailers) = self.ready.1.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            if let Some(work) = &mut self.work {
                let Done { flow, result, end } = ready!(work.poll(cx));
                if self.wait.is_none() {
                    self.wait = flow.as_ref().and_then(patience);
                }
                (self.work, self.flow) = (None, flow);
                match result {
                    Ok((data, trailers)) => self.ready = (Some(data).filter(|data| !data.is_empty()), trailers),
                    Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
                }
                self.finished = end;
                continue;
            }
            if self.run.is_over() {
                let error = Error::new(Kind::DownstreamClosed, "the exchange is over");
                return Poll::Ready(Some(Err(self.fail(error))));
            }
            match ready!(self.poll_source(cx)) {
                Ok(arrived) if self.indifferent(&arrived) => self.pass(arrived),
                Ok(arrived) => self.work = self.flow.take().map(|flow| self.work(flow, arrived)),
                Err(error) => {
                    self.finished = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// What plugins add is known when they have added it.
    fn is_end_stream(&self) -> bool {
        self.finished && self.ready.0.is_none() && self.ready.1.is_none()
    }

    fn remaining(&self) -> Option<u64> {
        None
    }

    fn seen_by_plugins(&self) -> Option<u64> {
        Some(self.came)
    }
}

impl HookedBody {
    /// No plugin looks at it.
    fn indifferent(&self, arrived: &Arrived) -> bool {
        let inside = matches!(arrived, Arrived::Piece { end: false, .. });
        self.flow.as_ref().is_some_and(Flow::is_idle) && (inside || !self.trailers)
    }

    fn pass(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Piece { data, end } => {
                self.ready.0 = Some(data).filter(|data| !data.is_empty());
                self.finished = end;
            }
            Arrived::End(trailers) => {
                self.ready.1 = Some(trailers).filter(|trailers| !trailers.is_empty());
                self.finished = true;
            }
            Arrived::Late => {}
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.finished = true;
        // Whoever sends the request upstream may only say that it broke off.
        if let Side::Request(Some(upload)) = &self.side {
            *upload.failure.borrow_mut() = Some(error.clone());
        }
        error
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arrived, Error>> {
        let frame = match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Ready(frame) => frame.transpose()?,
            Poll::Pending => {
                let Some(wait) = &mut self.wait else { return Poll::Pending };
                let Elapsed = ready!(wait.poll(cx));
                self.wait = None;
                return Poll::Ready(Ok(Arrived::Late));
            }
        };
        Poll::Ready(Ok(match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.came += data.len() as u64;
                Arrived::Piece { data, end: self.source.is_end_stream() }
            }
            Some(Err(frame)) => Arrived::End(frame.into_trailers().unwrap_or_default()),
            None => Arrived::End(HeaderMap::new()),
        }))
    }

    /// Takes what came through the hooks.
    fn work(&self, mut flow: Flow, arrived: Arrived) -> Work {
        let (run, came) = (self.run.clone(), self.came);
        let of_trailers = self.trailers.then_some(self.side.hooks().1);
        let work = async move {
            let end = matches!(arrived, Arrived::Piece { end: true, .. } | Arrived::End(_));
            let result = go_through(&run, &mut flow, arrived, came, of_trailers).await;
            Done { flow: Some(flow), result, end }
        };
        Work::New(Some(Box::pin(work)))
    }
}

/// Hooks that a piece goes through. Nearly all are done when they are first polled. One that waits keeps the exchange's
/// state, which others may need; they must not depend on somebody polling this body. So it goes on in a task, which ends
/// with the body.
enum Work {
    /// Not polled yet.
    New(Option<Pin<Box<dyn Future<Output = Done>>>>),
    Task(JoinHandle<Done>),
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        if let Work::New(work) = self
            && let Some(mut work) = work.take()
        {
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => return Poll::Ready(done),
                Poll::Pending => *self = Work::Task(tokio::task::spawn_local(work)),
            }
        }
        let gone = |why: String| Done { flow: None, result: Err(Error::new(Kind::PluginFailed, why)), end: true };
        match self {
            Work::Task(task) => {
                Pin::new(task).poll(cx).map(|done| done.unwrap_or_else(|error| gone(error.to_string())))
            }
            Work::New(_) => {
                Poll::Ready(gone("the hooks of a body were asked again after they had answered".to_owned()))
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Work::Task(task) = self {
            task.abort();
        }
    }
}

async fn go_through(
    run: &Run,
    flow: &mut Flow,
    arrived: Arrived,
    came: u64,
    of_trailers: Option<Hook>,
) -> Result<(Bytes, Option<HeaderMap>), Error> {
    let mut state = run.state().await;
    let (step, trailers) = match arrived {
        Arrived::Piece { data, end } => (flow.arrived(data, end), end.then(HeaderMap::new)),
        Arrived::End(trailers) => (flow.arrived(Bytes::new(), true), Some(trailers)),
        Arrived::Late => (flow.late(Instant::now()), None),
    };
    let piece = run.go_on(flow, step, came, &mut state).await?;
    let Some(mut trailers) = trailers else { return Ok((piece, None)) };
    if let Some(hook) = of_trailers {
        state.trailers = trailers;
        let decided = run.decide(hook, &mut state).await;
        trailers = std::mem::take(&mut state.trailers);
        decided?;
    }
    Ok((piece, Some(trailers).filter(|trailers| !trailers.is_empty())))
}
