//! `odin:plugin/clock`: time, as the host sees it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::store::{Ctx, Link};

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut clock = linker.instance("odin:plugin/clock@0.1.0")?;
    clock.func_wrap("now", |_: Ctx<'_>, ()| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),))
    })?;
    let start = Instant::now();
    clock.func_wrap("monotonic", move |_: Ctx<'_>, ()| {
        Ok((u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),))
    })
}
