//! The resource `endpoints` of `odin:plugin/types`. There is one per call: handles carry no number.
//! Must check every index before the implementor of `Endpoints` sees it.

use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime::ensure;

use crate::state::Endpoints;
use crate::store::{Ctx, StoreData};

/// Marks handles of the resource.
pub(crate) enum EndpointsHandle {}

type Handle = Resource<EndpointsHandle>;

pub(crate) fn link(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.resource("endpoints", ResourceType::host::<EndpointsHandle>(), |_, _| Ok(()))?;
    types.func_wrap("[method]endpoints.len", |store: Ctx<'_>, (_endpoints,): (Handle,)| {
        Ok((store.data().endpoints()?.len(),))
    })?;
    types.func_wrap("[method]endpoints.eligible-len", |store: Ctx<'_>, (_endpoints,): (Handle,)| {
        Ok((store.data().endpoints()?.eligible_len(),))
    })?;
    types.func_wrap("[method]endpoints.nth-eligible", |store: Ctx<'_>, (_endpoints, n): (Handle, u32)| {
        Ok((store.data().endpoints()?.nth_eligible(n),))
    })?;
    types.func_wrap("[method]endpoints.turn", |store: Ctx<'_>, (_endpoints,): (Handle,)| {
        Ok((store.data().endpoints()?.turn(),))
    })?;
    types.func_wrap("[method]endpoints.uniform", |store: Ctx<'_>, (_endpoints,): (Handle,)| {
        Ok((store.data().endpoints()?.uniform(),))
    })?;
    types.func_wrap("[method]endpoints.eligible", |store: Ctx<'_>, (_endpoints, index): (Handle, u32)| {
        let endpoints = store.data().endpoints()?;
        Ok((index < endpoints.len() && endpoints.eligible(index),))
    })?;
    types.func_wrap("[method]endpoints.address", |store: Ctx<'_>, (_endpoints, index): (Handle, u32)| {
        Ok((checked(&store, index)?.address(index).into_owned(),))
    })?;
    types.func_wrap("[method]endpoints.weight", |store: Ctx<'_>, (_endpoints, index): (Handle, u32)| {
        Ok((checked(&store, index)?.weight(index),))
    })?;
    types.func_wrap("[method]endpoints.healthy", |store: Ctx<'_>, (_endpoints, index): (Handle, u32)| {
        Ok((checked(&store, index)?.healthy(index),))
    })?;
    types.func_wrap("[method]endpoints.active-requests", |store: Ctx<'_>, (_endpoints, index): (Handle, u32)| {
        Ok((checked(&store, index)?.active_requests(index),))
    })
}

fn checked<'a>(store: &'a Ctx<'_>, index: u32) -> wasmtime::Result<&'a dyn Endpoints> {
    let endpoints = store.data().endpoints()?;
    let len = endpoints.len();
    ensure!(index < len, "endpoint index {index} is past the end: there are {len}");
    Ok(endpoints)
}
