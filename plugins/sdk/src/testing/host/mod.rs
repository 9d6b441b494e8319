//! The functions of the contract, as the simulated host answers them. Same paths and signatures as the imports of
//! `bindings`; what would trap there panics here.

mod capabilities;
mod message;
mod state;

pub(crate) use capabilities::{clock, config, log, metrics, outbound, random, shared};
pub(crate) use message::{body, request, response, trailers};
pub(crate) use state::{context, endpoints, routing};

use super::scene::{Active, SCENE};

/// The plugin that calls.
fn active() -> Active {
    let active = SCENE.with_borrow(|scene| scene.active.clone());
    // A doc example or a helper's own test may ask without a plugin around it.
    active.unwrap_or(Active { id: "test", config: serde_json::Value::Null, alone: false })
}

/// What the host does to a plugin that asks for what is not there.
fn trap(words: &str) -> ! {
    panic!("{words}: the host traps")
}
