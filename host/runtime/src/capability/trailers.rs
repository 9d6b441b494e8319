//! `odin:plugin/trailers`: the fields behind a body. Outside the trailer hooks there are none, whatever the state holds.

use std::sync::LazyLock;

use http::header::HeaderMap;
use odin_chain::Hook;
use odin_chain::fields::Fields;
use wasmtime::Result;

use crate::capability::message::{self, Message};
use crate::store::{Link, StoreData};

static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

struct Trailers;

impl Message for Trailers {
    fn fields(data: &StoreData) -> Result<&HeaderMap> {
        Ok(if here(data) { &data.state.trailers } else { &NONE })
    }

    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>> {
        Ok(if here(data) { Some(data.state.open_trailers()) } else { None })
    }
}

fn here(data: &StoreData) -> bool {
    matches!(data.hook, Hook::RequestTrailers | Hook::ResponseTrailers)
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    message::link_fields::<Trailers>(&mut linker.instance("odin:plugin/trailers@0.1.0")?)
}
