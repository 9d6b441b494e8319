//! `odin:plugin/endpoints`: the endpoints that a running `pick` chooses from.
//! Must check every index before the implementor of `Endpoints` sees it.

use odin_chain::Endpoints;
use wasmtime::ensure;

use crate::store::{Ctx, Link};

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut endpoints = linker.instance("odin:plugin/endpoints@0.1.0")?;
    endpoints.func_wrap("len", |store: Ctx<'_>, (): ()| Ok((store.data().endpoints()?.len(),)))?;
    endpoints.func_wrap("eligible-len", |store: Ctx<'_>, (): ()| Ok((store.data().endpoints()?.eligible_len(),)))?;
    endpoints
        .func_wrap("nth-eligible", |store: Ctx<'_>, (n,): (u32,)| Ok((store.data().endpoints()?.nth_eligible(n),)))?;
    endpoints
        .func_wrap("eligible-weight", |store: Ctx<'_>, (): ()| Ok((store.data().endpoints()?.eligible_weight(),)))?;
    endpoints.func_wrap("nth-by-weight", |store: Ctx<'_>, (point,): (u64,)| {
        Ok((store.data().endpoints()?.nth_by_weight(point),))
    })?;
    endpoints.func_wrap("turn", |store: Ctx<'_>, (): ()| Ok((store.data().endpoints()?.turn(),)))?;
    endpoints.func_wrap("uniform", |store: Ctx<'_>, (): ()| Ok((store.data().endpoints()?.uniform(),)))?;
    endpoints.func_wrap("eligible", |store: Ctx<'_>, (index,): (u32,)| {
        let endpoints = store.data().endpoints()?;
        Ok((index < endpoints.len() && endpoints.eligible(index),))
    })?;
    endpoints.func_wrap("address", |store: Ctx<'_>, (index,): (u32,)| {
        Ok((checked(&store, index)?.address(index).into_owned(),))
    })?;
    endpoints.func_wrap("weight", |store: Ctx<'_>, (index,): (u32,)| Ok((checked(&store, index)?.weight(index),)))?;
    endpoints.func_wrap("healthy", |store: Ctx<'_>, (index,): (u32,)| Ok((checked(&store, index)?.healthy(index),)))?;
    endpoints.func_wrap("active-requests", |store: Ctx<'_>, (index,): (u32,)| {
        Ok((checked(&store, index)?.active_requests(index),))
    })
}

fn checked<'a>(store: &'a Ctx<'_>, index: u32) -> wasmtime::Result<&'a dyn Endpoints> {
    let endpoints = store.data().endpoints()?;
    let len = endpoints.len();
    ensure!(index < len, "endpoint index {index} is past the end: there are {len}");
    Ok(endpoints)
}
