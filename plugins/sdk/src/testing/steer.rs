//! The hook `steer`, for a binding that the test describes.

use odin_chain::{Filter as _, Hook};

use super::chain::must_load;
use super::scene::{SCENE, Scene};
use crate::export::Exports;
use crate::steer::{Binding, Weight};

/// An answer holds at most so many weights, and a listener's name so many bytes.
const MAX_WEIGHTS: usize = 4_096;
const MAX_NAME_BYTES: usize = 256;

/// A binding of the first of these listeners, on two workers.
///
/// `let binding = testing::binding("0.0.0.0:80", &["web", "canary"]);`
pub fn binding(address: &str, listeners: &[&str]) -> Binding {
    let listeners: Vec<String> = listeners.iter().map(|&name| name.to_owned()).collect();
    let listener = listeners.first().cloned().unwrap_or_default();
    Binding { address: address.to_owned(), listener, workers: 2, listeners }
}

/// How a plugin shares out the new connections of a binding. The error is that of the hook, or says why the host refuses
/// the answer. A plugin without the hook answers nothing: evenly.
///
/// `assert_eq!(testing::steer::<Canary>(config, &binding), Ok(vec![Weight::listener("web", 1)]));`
pub fn steer<P: Exports>(config: impl serde::Serialize, binding: &Binding) -> Result<Vec<Weight>, String> {
    let plugin = must_load::<P>(config);
    if !plugin.hooks().has(Hook::Steer) {
        return Ok(Vec::new());
    }
    SCENE.set(Scene::default());
    let weights = plugin.call_alone(|plugin| plugin.weigh(binding))?;
    match fault(&weights, binding) {
        Some(what) => Err(plugin.bad(&what)),
        None => Ok(weights),
    }
}

/// What the host would refuse in an answer, in its words.
fn fault(weights: &[Weight], binding: &Binding) -> Option<String> {
    if weights.len() > MAX_WEIGHTS {
        return Some(format!("{} weights, which is more than {MAX_WEIGHTS}", weights.len()));
    }
    for Weight { listener, worker, .. } in weights {
        if listener.len() > MAX_NAME_BYTES {
            let bytes = listener.len();
            return Some(format!("the name of a listener of {bytes} bytes, which is more than {MAX_NAME_BYTES}"));
        }
        if !binding.has_listener(listener) {
            return Some(format!("the listener {listener:?}, which is none that is steered"));
        }
        if let Some(worker) = worker.filter(|&worker| worker >= binding.workers) {
            let workers = binding.workers;
            return Some(format!("worker {worker} of the listener {listener:?} is past the end: there are {workers}"));
        }
    }
    let nothing = !weights.is_empty() && weights.iter().all(|weight| weight.weight == 0);
    nothing.then(|| "weights that add up to 0".to_owned())
}
