//! What a config wants of sockets and steering. Asks the `steer` hooks of plugins how new connections are to be spread:
//! when bindings or plugins change, never for a connection.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use odin_chain::{SteerBinding, SteerWeight};
use odin_runtime::Plugin;
use odin_steer::{Binding, Weight};

use crate::assemble::Assembly;
use crate::config::Listener;
use crate::sockets::{Key, Sockets, Wanted, Weights};

/// A plugin that fails so often is not asked again this time: each failure may take as long as it is allowed to.
const MAX_FAILURES: u32 = 3;

/// What the sockets and the steering shall be like for this; `before` is what was served, if anything was.
pub(crate) fn wanted<'a>(assembly: &'a Assembly, sockets: &Sockets, before: Option<&Assembly>) -> Wanted<'a> {
    let (weights, unanswered) = weights(assembly, sockets, before);
    Wanted {
        listeners: &assembly.config.listeners,
        weights,
        unanswered,
        endpoints: assembly
            .clusters()
            .flat_map(|cluster| &cluster.endpoints)
            .map(|endpoint| endpoint.address)
            .collect(),
    }
}

/// The weights for every binding that is steered by a plugin, and the bindings that one failed for. A plugin that fails
/// leaves its bindings as they were, and spreads new ones evenly; it is asked again at the next change.
fn weights(assembly: &Assembly, sockets: &Sockets, before: Option<&Assembly>) -> (Weights, BTreeSet<Key>) {
    let (mut weights, mut unanswered) = (Weights::new(), BTreeSet::new());
    let listeners = &assembly.config.listeners;
    if listeners.iter().all(|listener| listener.steer.is_none()) {
        return (weights, unanswered);
    }
    let steered = |listener: &&Listener| listener.addresses.iter().any(|binding| sockets.steers(binding));
    let names: Vec<&str> = listeners.iter().filter(steered).map(|listener| listener.name.as_str()).collect();
    // Read once, if at all: there may be thousands of bindings.
    let now = LazyCell::new(|| sockets.weights_now());
    // Of weights that led to a listener that is gone, zeros may be left: they lead nowhere.
    let stays = |weight: &Weight| {
        weight.weight > 0
            && names.contains(&weight.listener.as_str())
            && weight.worker.is_none_or(|worker| worker < sockets.workers())
    };
    let kept = |key: &Key| now.get(key).map(|now| now.iter().filter(|weight| stays(weight)).cloned().collect());
    let mut failures: HashMap<&str, u32> = HashMap::new();
    for listener in listeners {
        let Some(name) = &listener.steer else { continue };
        let Some(loaded) = assembly.plugins.get(name) else { continue };
        let failed = failures.entry(name).or_default();
        let known = before.and_then(|before| known(before, listener, listeners));
        let known = known.filter(|(plugin, _)| Arc::ptr_eq(plugin, &loaded.plugin)).map(|(_, bindings)| bindings);
        for binding in &listener.addresses {
            if !sockets.steers(binding) {
                if before.is_none() {
                    let unsteered = "is not steered: nothing asks the plugin";
                    tracing::warn!(listener = listener.name, plugin = name, "{binding} {unsteered}");
                }
                continue;
            }
            let address = binding.to_string();
            let asked = SteerBinding {
                address: &address,
                listener: &listener.name,
                workers: sockets.workers(),
                listeners: &names,
            };
            let key = (listener.name.clone(), *binding);
            if known.as_ref().is_some_and(|known| known.contains(binding)) && !sockets.is_unanswered(&key) {
                // Nothing has changed that the plugin knows of.
                weights.extend(kept(&key).map(|kept| (key, kept)));
                continue;
            }
            let answered = match ask(&loaded.plugin, &asked, failed) {
                Some(answered) => Some(answered),
                None => {
                    unanswered.insert(key.clone());
                    kept(&key)
                }
            };
            weights.extend(answered.map(|answered| (key, answered)));
        }
    }
    (weights, unanswered)
}

/// None when the plugin fails, or has failed too often.
fn ask(plugin: &Plugin, binding: &SteerBinding<'_>, failures: &mut u32) -> Option<Vec<Weight>> {
    if *failures == MAX_FAILURES {
        return None;
    }
    let answered = plugin.steer(binding).inspect_err(|error| {
        *failures += 1;
        tracing::error!(plugin = plugin.name(), listener = binding.listener, binding = binding.address, "{error}");
        if *failures == MAX_FAILURES {
            tracing::error!(plugin = plugin.name(), "it is not asked about the bindings that are left");
        }
    });
    Some(answered.ok()?.into_iter().map(weight).collect())
}

/// The plugin that was asked for this listener before, and about which bindings, if it could choose among the same
/// listeners.
fn known<'a>(
    before: &'a Assembly,
    listener: &Listener,
    listeners: &[Listener],
) -> Option<(&'a Arc<Plugin>, HashSet<&'a Binding>)> {
    fn names(listeners: &[Listener]) -> HashSet<&str> {
        listeners.iter().map(|listener| listener.name.as_str()).collect()
    }
    if names(&before.config.listeners) != names(listeners) {
        return None;
    }
    let same = |before: &&Listener| before.name == listener.name && before.steer == listener.steer;
    let same = before.config.listeners.iter().find(same)?;
    let plugin = &before.plugins.get(same.steer.as_ref()?)?.plugin;
    Some((plugin, same.addresses.iter().collect()))
}

fn weight(SteerWeight { listener, worker, weight }: SteerWeight) -> Weight {
    Weight { listener, worker, weight }
}
