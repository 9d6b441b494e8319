//! How a component is asked: the function of each hook, what it is given, and its answer in the host's words.

use odin_chain::{ConnectDecision, Decision, Hook, PieceDecision, SteerBinding, SteerWeight, checked_weights};
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};

use super::answer::{self, WitConnectDecision, WitDataDecision, WitDecision, WitPieceDecision};
use super::functions::{ComponentFunctions, Function};
use crate::abi::ask::{Body, Configure, Connect, Data, Decide, Pick, Question, Tell, Weigh};

/// A question by a function with types.
pub(crate) trait Typed: Question {
    /// What the function is given.
    type Params: ComponentNamedList + Lower + Send + Sync + 'static;
    /// What it answers.
    type Return: Lift + Send + Sync + 'static;

    /// The function, if the component has it.
    fn function(&self, functions: &ComponentFunctions) -> Option<Function<Self::Params, Self::Return>>;

    fn params(&self) -> Self::Params;

    /// The answer in the host's words, or what is wrong with it.
    fn told(self, answer: Self::Return) -> Result<Self::Answer, String>;
}

/// `subject` of wit/balancer.wit.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WitSubject {
    /// An exchange.
    #[component(name = "request")]
    Request,
    /// A TCP connection.
    #[component(name = "connection")]
    Connection,
}

/// `binding` of wit/steer.wit.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitBinding {
    address: String,
    listener: String,
    workers: u32,
    listeners: Vec<String>,
}

impl From<&SteerBinding<'_>> for WitBinding {
    fn from(binding: &SteerBinding<'_>) -> Self {
        WitBinding {
            address: binding.address.to_owned(),
            listener: binding.listener.to_owned(),
            workers: binding.workers,
            listeners: binding.listeners.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

/// `weight` of wit/steer.wit.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WitWeight {
    listener: String,
    worker: Option<u32>,
    weight: u32,
}

impl Typed for Configure {
    type Params = (String,);
    type Return = ();

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(String,), ()>> {
        functions.configure
    }

    fn params(&self) -> (String,) {
        (self.0.clone(),)
    }

    fn told(self, (): ()) -> Result<(), String> {
        Ok(())
    }
}

impl Typed for Decide {
    type Params = ();
    type Return = WitDecision;

    #[inline]
    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(), WitDecision>> {
        match self.hook {
            Hook::RequestHeaders => functions.request_headers,
            Hook::RequestTrailers => functions.request_trailers,
            Hook::ResponseHeaders => functions.response_headers,
            Hook::ResponseTrailers => functions.response_trailers,
            _ => None,
        }
    }

    fn params(&self) {}

    #[inline]
    fn told(self, answer: WitDecision) -> Result<Decision, String> {
        answer::decision(answer, self.reads, self.max_head_bytes)
    }
}

impl Typed for Body {
    type Params = (u32, bool);
    type Return = WitPieceDecision;

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(u32, bool), WitPieceDecision>> {
        if self.hook == Hook::RequestBody { functions.request_body } else { functions.response_body }
    }

    fn params(&self) -> (u32, bool) {
        (self.piece.length, self.piece.end)
    }

    #[inline]
    fn told(self, answer: WitPieceDecision) -> Result<PieceDecision, String> {
        answer::piece(answer, self.max_head_bytes)
    }
}

impl Typed for Data {
    type Params = (u32, bool);
    type Return = WitDataDecision;

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(u32, bool), WitDataDecision>> {
        if self.hook == Hook::DownstreamData { functions.downstream_data } else { functions.upstream_data }
    }

    fn params(&self) -> (u32, bool) {
        (self.piece.length, self.piece.end)
    }

    #[inline]
    fn told(self, answer: WitDataDecision) -> Result<PieceDecision, String> {
        Ok(answer::data(answer))
    }
}

impl Typed for Tell {
    type Params = ();
    type Return = ();

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(), ()>> {
        if self.0 == Hook::ExchangeEnd { functions.exchange_end } else { functions.close }
    }

    fn params(&self) {}

    fn told(self, (): ()) -> Result<(), String> {
        Ok(())
    }
}

impl Typed for Connect {
    type Params = ();
    type Return = WitConnectDecision;

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(), WitConnectDecision>> {
        functions.connect
    }

    fn params(&self) {}

    fn told(self, answer: WitConnectDecision) -> Result<ConnectDecision, String> {
        Ok(answer::connect(answer))
    }
}

impl Typed for Pick {
    type Params = (WitSubject,);
    type Return = Option<u32>;

    #[inline]
    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(WitSubject,), Option<u32>>> {
        functions.pick
    }

    fn params(&self) -> (WitSubject,) {
        (if self.exchange { WitSubject::Request } else { WitSubject::Connection },)
    }

    #[inline]
    fn told(self, picked: Option<u32>) -> Result<Option<u32>, String> {
        let len = self.len;
        match picked {
            Some(index) if index >= len => Err(format!("endpoint index {index} is past the end: there are {len}")),
            picked => Ok(picked),
        }
    }
}

impl Typed for Weigh<'_> {
    type Params = (WitBinding,);
    type Return = Vec<WitWeight>;

    fn function(&self, functions: &ComponentFunctions) -> Option<Function<(WitBinding,), Vec<WitWeight>>> {
        functions.weigh
    }

    fn params(&self) -> (WitBinding,) {
        (WitBinding::from(&self.0),)
    }

    fn told(self, answer: Vec<WitWeight>) -> Result<Vec<SteerWeight>, String> {
        let own = |WitWeight { listener, worker, weight }| SteerWeight { listener, worker, weight };
        checked_weights(answer.into_iter().map(own).collect(), &self.0)
    }
}
