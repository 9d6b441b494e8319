//! The chain of filters of an exchange or TCP connection, as a state machine without input or output.
//!
//! A [`Chain`] says which filter a hook is due for and does what it answers; a [`Flow`] does so for a body or one direction
//! of a TCP stream, piece by piece. What the hooks see and change is a [`HookState`], with the rules for what a filter may
//! change. Who drives it calls the filters: Odin's data path the functions of a component, the SDK's test kit a plugin's
//! own methods.
//!
//! This crate must never wait, never read a clock for a decision, and never know how a filter is called.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod budget;
mod chain;
mod decision;
pub mod fields;
mod flow;
pub mod heads;
mod hook;
mod rules;
mod state;
mod steer;

pub use budget::{CPU_BUDGET, CpuBudget, Whose};
pub use chain::{Answer, Chain, End, Failed, Filter, Why};
pub use decision::{BodyMode, ConnectDecision, Decision, PieceDecision, Reply};
pub use fields::FieldError;
pub use flow::{Due, Flow, Step};
pub use hook::{Hook, Hooks, Role};
pub use rules::{BodyOverflow, OnFailure, Rules};
pub use state::{
    ClientCertificate, ConnectionInfo, Context, ContextFull, Endpoints, FACTS, Facts, HookState, ProxyFacts, ProxyTls,
    Routed, Routing, RoutingError, Setter, TlsInfo, Value,
};
pub use steer::{SteerBinding, SteerWeight, checked_weights};
