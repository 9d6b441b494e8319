//! `odin:plugin/routing`: where the exchange goes. Must never act: the choice is noted, and the host takes it.

use wasmtime::component::{ComponentType, Lower, WasmStr};

use crate::spec::Grants;
use crate::state::{HookState, Routed};
use crate::store::{Ctx, Link};

/// `routing-error` of wit/routing.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum RoutingError {
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
        let data = store.data();
        let routed = set_cluster(&data.state, &data.slot.spec.grants, &name.to_str(&store)?);
        Ok((note(&mut store.data_mut().state, routed),))
    })?;
    routing.func_wrap("rematch", |mut store: Ctx<'_>, (): ()| {
        let routed = rematch(&store.data().state);
        Ok((note(&mut store.data_mut().state, routed),))
    })
}

fn note(state: &mut HookState, routed: Result<Routed, RoutingError>) -> Result<(), RoutingError> {
    state.routed = Some(routed?);
    Ok(())
}

/// A cluster that is not granted answers like one that is not there, so that a plugin cannot find out which there are.
fn set_cluster(state: &HookState, grants: &Grants, name: &str) -> Result<Routed, RoutingError> {
    let granted = grants.clusters.iter().any(|cluster| cluster == name);
    match &state.routing {
        _ if !state.request_open => Err(RoutingError::TooLate),
        Some(routing) if granted && routing.has_cluster(name) => Ok(Routed::Cluster(name.into())),
        _ => Err(RoutingError::UnknownCluster),
    }
}

fn rematch(state: &HookState) -> Result<Routed, RoutingError> {
    if !state.request_open {
        return Err(RoutingError::TooLate);
    }
    let (Some(routing), Some(request)) = (&state.routing, &state.request) else { return Err(RoutingError::NoRoute) };
    let authority = String::from_utf8_lossy(state.authority.as_bytes());
    if routing.matches(&authority, &request.uri) { Ok(Routed::Rematch) } else { Err(RoutingError::NoRoute) }
}
