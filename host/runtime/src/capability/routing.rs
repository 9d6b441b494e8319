//! `odin:plugin/routing`: where the exchange goes. Must never act: the choice is noted, and the host takes it.

use wasmtime::component::{ComponentType, Lower, WasmStr};

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
        let routed = set_cluster(&store.data().state, &name.to_str(&store)?);
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

fn set_cluster(state: &HookState, name: &str) -> Result<Routed, RoutingError> {
    match &state.routing {
        _ if !state.request_open => Err(RoutingError::TooLate),
        Some(routing) if routing.has_cluster(name) => Ok(Routed::Cluster(name.into())),
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
