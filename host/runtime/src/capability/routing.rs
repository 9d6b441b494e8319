//! `odin:plugin/routing`: where the exchange goes. Must never act: the choice is noted, and the host takes it.

use odin_chain::RoutingError;
use wasmtime::component::{ComponentType, Lower, WasmStr};

use crate::store::{Ctx, Link};

/// `routing-error` of wit/routing.wit.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum WitRoutingError {
    #[component(name = "unknown-cluster")]
    UnknownCluster,
    #[component(name = "no-route")]
    NoRoute,
    #[component(name = "too-late")]
    TooLate,
}

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut routing = linker.instance("odin:plugin/routing@0.1.0")?;
    routing.func_wrap("set-cluster", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?.into_owned();
        let data = store.data_mut();
        let granted = data.slot.spec.grants.clusters.contains(&name);
        Ok((data.state.set_cluster(&name, granted).map_err(wit),))
    })?;
    routing.func_wrap("rematch", |mut store: Ctx<'_>, (): ()| Ok((store.data_mut().state.rematch().map_err(wit),)))
}

fn wit(error: RoutingError) -> WitRoutingError {
    match error {
        RoutingError::UnknownCluster => WitRoutingError::UnknownCluster,
        RoutingError::NoRoute => WitRoutingError::NoRoute,
        RoutingError::TooLate => WitRoutingError::TooLate,
    }
}
