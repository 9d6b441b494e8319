//! `odin:plugin/response`: the head of the response.

use http::header::HeaderMap;
use http::response;
use odin_chain::fields::Fields;
use wasmtime::{Result, bail};

use crate::capability::message::{self, Message, answer};
use crate::store::{Ctx, Link, StoreData};

const NO_RESPONSE: &str = "there is no response here";

struct Response;

impl Message for Response {
    fn fields(data: &StoreData) -> Result<&HeaderMap> {
        Ok(&head(data)?.headers)
    }

    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>> {
        head(data)?;
        Ok(data.state.open_response())
    }
}

fn head(data: &StoreData) -> Result<&response::Parts> {
    let Some(head) = &data.state.response else { bail!(NO_RESPONSE) };
    Ok(head)
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut response = linker.instance("odin:plugin/response@0.1.0")?;
    message::link_fields::<Response>(&mut response)?;
    message::link_get_many::<Response>(&mut response)?;
    response.func_wrap("status", |store: Ctx<'_>, (): ()| Ok((head(store.data())?.status.as_u16(),)))?;
    response.func_wrap("has-body", |store: Ctx<'_>, (): ()| {
        head(store.data())?;
        Ok((store.data().state.response_has_body,))
    })?;
    response.func_wrap("set-status", |mut store: Ctx<'_>, (status,): (u16,)| {
        head(store.data())?;
        answer(store.data_mut().state.set_status(status))
    })
}
