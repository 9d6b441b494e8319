//! The plugins of a simulated route, each with its config, and the one place where their hooks are called. What becomes of
//! their answers is the business of `odin-chain`, as it is in Odin.

use odin_chain::{Answer, BodyOverflow, ConnectDecision, Decision, Failed, Filter, Hook, Hooks, OnFailure, Rules};
use odin_chain::{PieceDecision, Reply};

use crate::export::{Exports, read_config};
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
    hooks: Hooks,
    rules: Rules,
    plugin: Box<dyn Methods>,
}

impl Filter for Link {
    fn hooks(&self) -> Hooks {
        self.hooks
    }

    fn rules(&self) -> Rules {
        self.rules
    }
}

/// The methods of [`Plugin`](crate::Plugin), without its types.
pub(crate) trait Methods {
    fn decide(&self, hook: Hook) -> Result;
    fn piece(&self, hook: Hook, body: &Body) -> Result<Piece>;
    fn exchange_end(&self) -> Result<()>;
    fn choose(&self, subject: Subject) -> Result<Option<u32>>;
    fn connect(&self) -> Result<Connect>;
    fn close(&self) -> Result<()>;
    fn weigh(&self, binding: &Binding) -> Result<Vec<Weight>>;
}

impl<P: Exports> Methods for P {
    fn decide(&self, hook: Hook) -> Result {
        match hook {
            Hook::RequestHeaders => self.on_request_headers(REQUEST),
            Hook::RequestTrailers => self.on_request_trailers(REQUEST, TRAILERS),
            Hook::ResponseHeaders => self.on_response_headers(RESPONSE, REQUEST),
            Hook::ResponseTrailers => self.on_response_trailers(RESPONSE, REQUEST, TRAILERS),
            _ => unreachable!("{hook} is no hook of a head"),
        }
    }

    fn piece(&self, hook: Hook, body: &Body) -> Result<Piece> {
        match hook {
            Hook::RequestBody => self.on_request_body(REQUEST, body),
            Hook::ResponseBody => self.on_response_body(RESPONSE, REQUEST, body),
            Hook::DownstreamData => self.on_downstream_data(body).map(as_piece),
            Hook::UpstreamData => self.on_upstream_data(body).map(as_piece),
            _ => unreachable!("{hook} is no hook of a body"),
        }
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
    let hooks: Hooks = Hook::ALL.into_iter().filter(|&hook| exports::<P>(hook)).collect();
    let active = Active { id: id::<P>(), config: config.clone(), alone: true };
    let plugin = within(active, || match hooks.has(Hook::Configure) {
        true => read_config(&config.to_string()).and_then(P::new),
        false => P::unconfigured(),
    });
    let plugin = Box::new(plugin.map_err(Error::into_message)?);
    let rules = Rules {
        body_bytes: 1 << 20,
        // Nobody waits here: all that comes is there.
        body_wait: std::time::Duration::MAX,
        body_overflow: BodyOverflow::Reject,
        on_failure: OnFailure::Closed,
    };
    Ok(Link { id: id::<P>(), config, hooks, rules, plugin })
}

/// The same for a test that means to go on.
pub(crate) fn must_load<P: Exports>(config: impl serde::Serialize) -> Link {
    load::<P>(config).unwrap_or_else(|words| panic!("{} refuses its config: {words}", id::<P>()))
}

/// The names are those of the interfaces, in upper case where those have a hyphen.
fn exports<P: Exports>(hook: Hook) -> bool {
    let interface = hook.interface().replace('-', "");
    P::HOOKS.iter().any(|exported| format!("{exported:?}").eq_ignore_ascii_case(&interface))
}

impl Link {
    /// Changes what the operator says about it.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
    }

    /// The hook of a head or of trailers.
    pub(crate) fn decide(&self, hook: Hook) -> Answer<Decision, String> {
        self.judge(self.call(|plugin| plugin.decide(hook)), |decision| {
            Ok(match decision {
                crate::Decision::Continue => Decision::Continue,
                crate::Decision::Read(mode) => Decision::Read(body_mode(mode)),
                crate::Decision::Reply(answer) => Decision::Reply(reply(answer)?),
                crate::Decision::Reject(reason) => Decision::Reject(reason),
                crate::Decision::Cut(reason) => Decision::Cut(reason),
            })
        })
    }

    /// The hook of a body or of a direction of a TCP stream.
    pub(crate) fn piece(&self, hook: Hook, body: &Body) -> Answer<PieceDecision, String> {
        self.judge(self.call(|plugin| plugin.piece(hook, body)), |piece| {
            Ok(match piece {
                Piece::Pass => PieceDecision::Pass,
                Piece::Replace(bytes) => PieceDecision::Replace(bytes.into()),
                Piece::Append(bytes) => PieceDecision::Append(bytes.into()),
                Piece::Hold => PieceDecision::Hold,
                Piece::Skip => PieceDecision::Skip,
                Piece::Reply(answer) => PieceDecision::Reply(reply(answer)?),
                Piece::Reject(reason) => PieceDecision::Reject(reason),
                Piece::Cut(reason) => PieceDecision::Cut(reason),
            })
        })
    }

    /// The hook of the begin of a TCP connection.
    pub(crate) fn connect(&self) -> Answer<ConnectDecision, String> {
        self.judge(self.call(|plugin| plugin.connect()), |decision| {
            Ok(match decision {
                Connect::Continue => ConnectDecision::Continue,
                Connect::SkipData => ConnectDecision::SkipData,
                Connect::Reject(reason) => ConnectDecision::Reject(reason),
            })
        })
    }

    /// A hook that decides nothing: its failure is noted.
    pub(crate) fn tell(&self, hook: fn(&dyn Methods) -> Result<()>) {
        // Noted by now.
        let _ = self.judge(self.call(hook), Ok);
    }

    /// What a hook answered, in the chain's words. A failure is noted, whatever becomes of it.
    fn judge<T, U>(&self, answer: Result<T, String>, told: impl FnOnce(T) -> Result<U, String>) -> Answer<U, String> {
        answer.and_then(|answer| told(answer).map_err(|words| self.bad(&words))).map_err(|error| {
            SCENE.with_borrow_mut(|scene| scene.failures.push(error.clone()));
            Failed { error, may_pass: true }
        })
    }

    /// Calls a hook; the error's words where it fails.
    pub(crate) fn call<T>(&self, hook: impl FnOnce(&dyn Methods) -> Result<T>) -> Result<T, String> {
        self.called(false, hook)
    }

    /// The same for a hook that is called without an exchange.
    pub(crate) fn call_alone<T>(&self, hook: impl FnOnce(&dyn Methods) -> Result<T>) -> Result<T, String> {
        self.called(true, hook)
    }

    fn called<T>(&self, alone: bool, hook: impl FnOnce(&dyn Methods) -> Result<T>) -> Result<T, String> {
        let active = Active { id: self.id, config: self.config.clone(), alone };
        within(active, || hook(&*self.plugin)).map_err(|error| format!("{}: {}", self.id, error.message()))
    }

    /// What is wrong with the plugin's answer.
    pub(crate) fn bad(&self, words: &str) -> String {
        format!("{}: {words}", self.id)
    }
}

fn reply(answer: crate::Reply) -> Result<Box<Reply>, String> {
    let crate::Reply { status, fields, body, trailers } = answer;
    let max = SCENE.with_borrow(|scene| scene.state.max_head_bytes);
    Reply::checked(status, &fields, body.into(), &trailers, max).map(Box::new)
}

fn body_mode(mode: crate::BodyMode) -> odin_chain::BodyMode {
    match mode {
        crate::BodyMode::Skip => odin_chain::BodyMode::Skip,
        crate::BodyMode::Stream => odin_chain::BodyMode::Stream,
        crate::BodyMode::Buffer => odin_chain::BodyMode::Buffer,
        crate::BodyMode::Hold => odin_chain::BodyMode::Hold,
    }
}

fn as_piece(data: Data) -> Piece {
    match data {
        Data::Pass => Piece::Pass,
        Data::Replace(bytes) => Piece::Replace(bytes),
        Data::Append(bytes) => Piece::Append(bytes),
        Data::Hold => Piece::Hold,
        Data::Skip => Piece::Skip,
        Data::Cut(reason) => Piece::Cut(reason),
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
