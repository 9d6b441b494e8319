//! Context, routing and endpoints.

pub(crate) mod context {
    use odin_chain::{ContextFull, FACTS, Setter};

    use crate::bindings::imports::context::{ContextError, Value};
    use crate::testing::host::active;
    use crate::testing::scene::SCENE;

    pub(crate) fn get(name: &str) -> Option<Value> {
        let plugin = active();
        if plugin.alone {
            return None;
        }
        SCENE.with_borrow(|scene| scene.recall(plugin.id, name))
    }

    pub(crate) fn set(name: &str, value: &Value) -> Result<(), ContextError> {
        write(name, |setter| {
            SCENE.with_borrow_mut(|scene| scene.state.context.set_as(setter, name, value.clone().into()))
        })
    }

    pub(crate) fn set_on_connection(name: &str, value: &Value) -> Result<(), ContextError> {
        write(name, |setter| {
            SCENE.with_borrow(|scene| scene.state.connection.context().set_as(setter, name, value.clone().into()))
        })
    }

    fn write(name: &str, set: impl FnOnce(Setter<'_>) -> Result<(), ContextFull>) -> Result<(), ContextError> {
        let plugin = active();
        if plugin.alone {
            return Err(ContextError::NoExchange);
        }
        if name.starts_with(FACTS) {
            return Err(ContextError::ReadOnly);
        }
        // The address of the name is as good as any number: it is the plugin's own.
        set(Setter { name: plugin.id, id: plugin.id.as_ptr().addr() as u64 }).map_err(|full| match full {
            ContextFull::Context => ContextError::TooLarge,
            ContextFull::Share => ContextError::OverShare,
        })
    }

    pub(crate) fn remove(name: &str) {
        let plugin = active();
        SCENE.with_borrow_mut(|scene| scene.state.context.remove_as(plugin.id, name));
    }
}

pub(crate) mod routing {
    use crate::bindings::imports::routing::RoutingError;
    use crate::testing::scene::SCENE;

    pub(crate) fn set_cluster(name: &str) -> Result<(), RoutingError> {
        SCENE.with_borrow_mut(|scene| scene.state.set_cluster(name, true)).map_err(wit)
    }

    pub(crate) fn rematch() -> Result<(), RoutingError> {
        SCENE.with_borrow_mut(|scene| scene.state.rematch()).map_err(wit)
    }

    fn wit(error: odin_chain::RoutingError) -> RoutingError {
        match error {
            odin_chain::RoutingError::UnknownCluster => RoutingError::UnknownCluster,
            odin_chain::RoutingError::NoRoute => RoutingError::NoRoute,
            odin_chain::RoutingError::TooLate => RoutingError::TooLate,
        }
    }
}

pub(crate) mod endpoints {
    use crate::testing::host::trap;
    use crate::testing::scene::{SCENE, Target};

    fn all<T>(ask: impl FnOnce(&[Target]) -> T) -> T {
        SCENE.with_borrow(|scene| match &scene.endpoints {
            Some(all) => ask(all),
            None => trap("there are no endpoints here"),
        })
    }

    fn one<T>(index: u32, ask: impl FnOnce(&Target) -> T) -> T {
        all(|all| match all.get(index as usize) {
            Some(target) => ask(target),
            None => trap("an index past the end"),
        })
    }

    /// When every endpoint that has not failed for this exchange is unhealthy, health is ignored.
    fn eligible_of(all: &[Target]) -> Vec<u32> {
        let with = |ask: &dyn Fn(&Target) -> bool| -> Vec<u32> {
            (0..).zip(all).filter(|(_, target)| ask(target)).map(|(index, _)| index).collect()
        };
        match all.iter().any(|target| target.healthy && !target.failed) {
            true => with(&|target| target.healthy && !target.failed),
            false => with(&|target| !target.failed),
        }
    }

    pub(crate) fn len() -> u32 {
        all(|all| all.len() as u32)
    }

    pub(crate) fn eligible_len() -> u32 {
        all(|all| eligible_of(all).len() as u32)
    }

    pub(crate) fn nth_eligible(n: u32) -> Option<u32> {
        all(|all| eligible_of(all).get(n as usize).copied())
    }

    pub(crate) fn eligible_weight() -> u64 {
        all(|all| eligible_of(all).iter().map(|index| u64::from(all[*index as usize].weight)).sum())
    }

    pub(crate) fn nth_by_weight(mut point: u64) -> Option<u32> {
        all(|all| {
            eligible_of(all).into_iter().find(|index| {
                let rest = point.checked_sub(u64::from(all[*index as usize].weight));
                point = rest.unwrap_or(point);
                rest.is_none()
            })
        })
    }

    pub(crate) fn turn() -> u64 {
        SCENE.with_borrow_mut(|scene| {
            if scene.endpoints.is_none() {
                trap("there are no endpoints here");
            }
            scene.turn = scene.turn.wrapping_add(1);
            scene.turn.wrapping_sub(1)
        })
    }

    pub(crate) fn uniform() -> bool {
        all(|all| all.windows(2).all(|pair| pair[0].weight == pair[1].weight))
    }

    pub(crate) fn eligible(index: u32) -> bool {
        all(|all| eligible_of(all).contains(&index))
    }

    pub(crate) fn address(index: u32) -> String {
        one(index, |target| target.address.clone())
    }

    pub(crate) fn weight(index: u32) -> u32 {
        one(index, |target| target.weight)
    }

    pub(crate) fn healthy(index: u32) -> bool {
        one(index, |target| target.healthy)
    }

    pub(crate) fn active_requests(index: u32) -> u32 {
        one(index, |target| target.active_requests)
    }
}
