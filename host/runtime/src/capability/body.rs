//! `odin:plugin/body`: the bytes of the piece that the running hook was called for. They are copied once, from where
//! the host keeps them into the guest's memory.

use bytes::Bytes;
use odin_chain::Hook;

use crate::store::{Ctx, Link, StoreData};

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    linker.instance("odin:plugin/body@0.1.0")?.func_wrap("read", |store: Ctx<'_>, (offset, length): (u32, u32)| {
        let data = store.data();
        let most = data.slot.spec.limits.hostcall_bytes();
        Ok((piece(data).map_or_else(Bytes::new, |piece| part(piece, offset, length, most)),))
    })
}

fn piece(data: &StoreData) -> Option<&Bytes> {
    match data.hook {
        Hook::RequestBody | Hook::ResponseBody | Hook::DownstreamData | Hook::UpstreamData => Some(&data.state.piece),
        _ => None,
    }
}

/// What of `piece` lies in the range, and at most so many bytes.
fn part(piece: &Bytes, offset: u32, length: u32, most: usize) -> Bytes {
    let from = piece.len().min(offset as usize);
    let to = piece.len().min(from.saturating_add(most.min(length as usize)));
    piece.slice(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_is_there_and_allowed() {
        let piece = Bytes::from_static(b"0123456789");
        assert_eq!(part(&piece, 2, 3, 100), "234");
        assert_eq!(part(&piece, 8, 3, 100), "89");
        assert_eq!(part(&piece, 0, 100, 4), "0123");
        assert_eq!(part(&piece, u32::MAX, u32::MAX, 100), "");
    }
}
