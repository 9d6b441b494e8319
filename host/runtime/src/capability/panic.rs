//! `odin:plugin/panic`: a guest's last words, kept until the trap that follows them.

use wasmtime::component::WasmStr;

use crate::store::{Ctx, Link};
use crate::words;

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    linker.instance("odin:plugin/panic@0.1.0")?.func_wrap("report", |mut store: Ctx<'_>, (message,): (WasmStr,)| {
        let message = words::one_line(&message.to_str(&store)?);
        store.data_mut().last_words = Some(message);
        Ok(())
    })
}
