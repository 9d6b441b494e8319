//! The hook `steer`, for a binding that the test describes.

use odin_chain::{Filter as _, Hook, SteerBinding, SteerWeight, checked_weights};

use super::chain::must_load;
use super::scene::{SCENE, Scene};
use crate::export::Exports;
use crate::steer::{Binding, Weight};

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
    let names: Vec<&str> = binding.listeners.iter().map(String::as_str).collect();
    let Binding { address, listener, workers, .. } = binding;
    let asked = SteerBinding { address, listener, workers: *workers, listeners: &names };
    let told = |Weight { listener, worker, weight }| SteerWeight { listener, worker, weight };
    match checked_weights(weights.iter().cloned().map(told).collect(), &asked) {
        Ok(_) => Ok(weights),
        Err(what) => Err(plugin.bad(&what)),
    }
}
