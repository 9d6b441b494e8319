//! `odin:plugin/request`: the head of the request.

use http::header::HeaderMap;
use http::request;
use http::uri::PathAndQuery;
use odin_chain::fields::Fields;
use odin_chain::{FieldError, HookState};
use wasmtime::component::WasmStr;
use wasmtime::{Result, bail};

use crate::capability::message::{self, Interface, Message, answer};
use crate::store::{Ctx, Link, StoreData};

const NO_REQUEST: &str = "there is no request here";

struct Request;

impl Message for Request {
    fn fields(data: &StoreData) -> Result<&HeaderMap> {
        Ok(&head(data)?.headers)
    }

    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>> {
        head(data)?;
        Ok(data.state.open_request())
    }
}

fn head(data: &StoreData) -> Result<&request::Parts> {
    let Some(head) = &data.state.request else { bail!(NO_REQUEST) };
    Ok(head)
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut request = linker.instance("odin:plugin/request@0.1.0")?;
    message::link_fields::<Request>(&mut request)?;
    message::link_get_many::<Request>(&mut request)?;
    request.func_wrap("method", |store: Ctx<'_>, (): ()| Ok((head(store.data())?.method.as_str().to_owned(),)))?;
    request.func_wrap("path", |store: Ctx<'_>, (): ()| {
        Ok((head(store.data())?.uri.path_and_query().map_or("", PathAndQuery::as_str).to_owned(),))
    })?;
    request.func_wrap("scheme", |store: Ctx<'_>, (): ()| {
        head(store.data())?;
        Ok((store.data().state.scheme.as_str().to_owned(),))
    })?;
    request.func_wrap("authority", |store: Ctx<'_>, (): ()| {
        head(store.data())?;
        Ok((String::from_utf8_lossy(store.data().state.authority.as_bytes()).into_owned(),))
    })?;
    request.func_wrap("has-body", |store: Ctx<'_>, (): ()| {
        head(store.data())?;
        Ok((store.data().state.request_has_body,))
    })?;
    link_setter(&mut request, "set-method", HookState::set_method)?;
    link_setter(&mut request, "set-path", HookState::set_path)?;
    link_setter(&mut request, "set-scheme", HookState::set_scheme)?;
    link_setter(&mut request, "set-authority", HookState::set_authority)
}

type Setter = fn(&mut HookState, &str) -> std::result::Result<(), FieldError>;

fn link_setter(request: &mut Interface<'_>, name: &str, set: Setter) -> wasmtime::Result<()> {
    request.func_wrap(name, move |mut store: Ctx<'_>, (value,): (WasmStr,)| {
        let value = value.to_str(&store)?.into_owned();
        head(store.data())?;
        answer(set(&mut store.data_mut().state, &value))
    })
}
