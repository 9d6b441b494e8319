//! Answers the steer hook as its config says, or misbehaves in it:
//! `{ "weights": [["canary", null, 1], ["web", 0, 3]] }` or `{ "does": "loop" }`. With `"on"` only for the bindings of
//! these listeners; for all others it answers nothing.
//!
//! The metric `asked` counts the calls, and the log has a line of each.

use odin_sdk::metrics::Counter;
use odin_sdk::steer::{Binding, Weight};
use odin_sdk::{Plugin, Result, info};

static ASKED: Counter = Counter::new("asked");

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Probe {
    weights: Vec<(String, Option<u32>, u32)>,
    does: Does,
    on: Option<Vec<String>>,
}

#[derive(Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    /// What `weights` says.
    #[default]
    Answer,
    /// Never returns.
    Loop,
    Panic,
    /// Takes memory until there is none.
    Bomb,
    /// Answers `err`.
    Fail,
    /// Names a listener that there is not.
    Unknown,
    /// Names a worker that there is not.
    PastTheEnd,
    /// Weights that add up to 0.
    Zero,
    /// 5,000 weights.
    Many,
    /// The name of a listener of 1,000 bytes.
    LongName,
}

#[odin_sdk::plugin]
impl Plugin for Probe {
    type Config = Probe;

    fn new(config: Probe) -> Result<Self> {
        Ok(config)
    }

    fn steer(&self, binding: &Binding) -> Result<Vec<Weight>> {
        ASKED.add(1);
        let Binding { address, listener, workers, listeners } = binding;
        info!("asked for {address} of {listener}: {workers} workers, listeners {}", listeners.join(" "));
        if self.on.as_ref().is_some_and(|on| !on.contains(listener)) {
            return Ok(Vec::new());
        }
        Ok(match self.does {
            Does::Answer => {
                let weight = |(listener, worker, weight): &(String, _, _)| Weight {
                    listener: listener.clone(),
                    worker: *worker,
                    weight: *weight,
                };
                self.weights.iter().map(weight).collect()
            }
            Does::Loop => for_ever(),
            Does::Panic => panic!("told to"),
            Does::Bomb => bomb(),
            Does::Fail => Err("told to")?,
            Does::Unknown => vec![Weight::listener("no such listener", 1)],
            Does::PastTheEnd => vec![Weight::worker(listener, *workers, 1)],
            Does::Zero => vec![Weight::listener(listener, 0)],
            Does::Many => vec![Weight::listener(listener, 1); 5_000],
            Does::LongName => vec![Weight::listener("x".repeat(1_000), 1)],
        })
    }
}

#[inline(never)]
#[allow(clippy::empty_loop, reason = "that is the test")]
fn for_ever() -> ! {
    loop {}
}

fn bomb() -> ! {
    loop {
        std::mem::forget(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}
