//! The resource `connection` of `odin:plugin/types`. There is one per call: handles carry no number.

use wasmtime::component::{LinkerInstance, Resource, ResourceType};

use crate::state::ConnectionInfo;
use crate::store::{Ctx, StoreData};

/// Marks handles of the resource.
pub(crate) enum Connection {}

pub(crate) fn link(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.resource("connection", ResourceType::host::<Connection>(), |_, _| Ok(()))?;
    getter(types, "peer-address", |connection| connection.peer.to_string())?;
    getter(types, "local-address", |connection| connection.local.to_string())?;
    getter(types, "listener", |connection| connection.listener.to_string())
}

fn getter(
    types: &mut LinkerInstance<'_, StoreData>,
    name: &str,
    get: fn(&ConnectionInfo) -> String,
) -> wasmtime::Result<()> {
    types.func_wrap(
        &format!("[method]connection.{name}"),
        move |store: Ctx<'_>, (_connection,): (Resource<Connection>,)| Ok((get(&store.data().state.connection),)),
    )
}
