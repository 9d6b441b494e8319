//! The resources `request-head` and `response-head` of `odin:plugin/types`. There is one of each per call, so handles
//! carry no number. A getter copies only what was asked for; a setter of a head that is read-only in the running hook
//! checks what it is given and changes nothing.

use std::str::FromStr;

use http::header::{HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{StatusCode, request, response};
use wasmtime::component::{LinkerInstance, Resource, ResourceType, WasmList, WasmStr};
use wasmtime::{Result, bail, ensure};

use crate::capability::fields::{self, FieldError, Fields};
use crate::spec::Hook;
use crate::state::HookState;
use crate::store::{Ctx, StoreData};

/// Marks handles of the resource.
pub(crate) enum RequestHead {}
/// Marks handles of the resource.
pub(crate) enum ResponseHead {}

type Linker<'a> = LinkerInstance<'a, StoreData>;
type Changed = Result<(std::result::Result<(), FieldError>,)>;

pub(crate) fn link(types: &mut Linker<'_>) -> Result<()> {
    link_fields::<RequestHead>(types)?;
    link_fields::<ResponseHead>(types)?;
    types.func_wrap("[method]request-head.method", |store: Ctx<'_>, (_head,): (Resource<RequestHead>,)| {
        Ok((request(&store)?.method.as_str().to_owned(),))
    })?;
    types.func_wrap("[method]request-head.path", |store: Ctx<'_>, (_head,): (Resource<RequestHead>,)| {
        Ok((request(&store)?.uri.path_and_query().map_or("", PathAndQuery::as_str).to_owned(),))
    })?;
    types.func_wrap("[method]request-head.scheme", |store: Ctx<'_>, (_head,): (Resource<RequestHead>,)| {
        Ok((store.data().state.scheme.to_owned(),))
    })?;
    types.func_wrap("[method]request-head.authority", |store: Ctx<'_>, (_head,): (Resource<RequestHead>,)| {
        Ok((String::from_utf8_lossy(store.data().state.authority.as_bytes()).into_owned(),))
    })?;
    types.func_wrap(
        "[method]request-head.set-path",
        |mut store: Ctx<'_>, (_head, path): (Resource<RequestHead>, WasmStr)| -> Changed {
            let path = path_and_query(&path.to_str(&store)?);
            Ok((path.and_then(|path| set_path(store.data_mut(), path)),))
        },
    )?;
    types.func_wrap(
        "[method]request-head.set-authority",
        |mut store: Ctx<'_>, (_head, name): (Resource<RequestHead>, WasmStr)| -> Changed {
            let authority = authority(&name.to_str(&store)?);
            let data = store.data_mut();
            Ok((authority.map(|authority| {
                if RequestHead::writable(data.hook) {
                    data.state.authority = authority;
                }
            }),))
        },
    )?;
    types.func_wrap("[method]response-head.status", |store: Ctx<'_>, (_head,): (Resource<ResponseHead>,)| {
        Ok((response(&store)?.status.as_u16(),))
    })?;
    types.func_wrap(
        "[method]response-head.set-status",
        |mut store: Ctx<'_>, (_head, status): (Resource<ResponseHead>, u16)| -> Changed {
            let Some(head) = &mut store.data_mut().state.response else { bail!(NO_RESPONSE) };
            Ok((replacement(head.status, status).map(|status| head.status = status),))
        },
    )
}

const NO_REQUEST: &str = "there is no request here";
const NO_RESPONSE: &str = "there is no response here";

fn request<'a>(store: &'a Ctx<'_>) -> Result<&'a request::Parts> {
    let Some(head) = &store.data().state.request else { bail!(NO_REQUEST) };
    Ok(head)
}

fn response<'a>(store: &'a Ctx<'_>) -> Result<&'a response::Parts> {
    let Some(head) = &store.data().state.response else { bail!(NO_RESPONSE) };
    Ok(head)
}

/// What the two heads have in common: fields.
trait Head: 'static {
    const RESOURCE: &str;
    fn fields(state: &HookState) -> Result<&HeaderMap>;
    fn sized(state: &mut HookState) -> Result<Fields<'_>>;
    /// Whether the hook may change this head.
    fn writable(hook: Hook) -> bool;
}

impl Head for RequestHead {
    const RESOURCE: &str = "request-head";

    fn fields(state: &HookState) -> Result<&HeaderMap> {
        let Some(head) = &state.request else { bail!(NO_REQUEST) };
        Ok(&head.headers)
    }

    fn sized(state: &mut HookState) -> Result<Fields<'_>> {
        let Some(head) = &mut state.request else { bail!(NO_REQUEST) };
        Ok(Fields { fields: &mut head.headers, bytes: &mut state.request_bytes, max: state.max_head_bytes })
    }

    fn writable(hook: Hook) -> bool {
        hook == Hook::RequestHeaders
    }
}

impl Head for ResponseHead {
    const RESOURCE: &str = "response-head";

    fn fields(state: &HookState) -> Result<&HeaderMap> {
        let Some(head) = &state.response else { bail!(NO_RESPONSE) };
        Ok(&head.headers)
    }

    fn sized(state: &mut HookState) -> Result<Fields<'_>> {
        let Some(head) = &mut state.response else { bail!(NO_RESPONSE) };
        Ok(Fields { fields: &mut head.headers, bytes: &mut state.response_bytes, max: state.max_head_bytes })
    }

    fn writable(hook: Hook) -> bool {
        hook == Hook::ResponseHeaders
    }
}

fn link_fields<H: Head>(types: &mut Linker<'_>) -> Result<()> {
    let method = |name: &str| format!("[method]{}.{name}", H::RESOURCE);
    types.resource(H::RESOURCE, ResourceType::host::<H>(), |_, _| Ok(()))?;
    types.func_wrap(&method("get"), |store: Ctx<'_>, (_head, name): (Resource<H>, WasmStr)| {
        let name = name.to_str(&store)?;
        Ok((H::fields(&store.data().state)?.get(&*name).map(|value| value.as_bytes().to_vec()),))
    })?;
    types.func_wrap(&method("get-all"), |store: Ctx<'_>, (_head, name): (Resource<H>, WasmStr)| {
        let name = name.to_str(&store)?;
        let values = H::fields(&store.data().state)?.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    types.func_wrap(&method("get-many"), |mut store: Ctx<'_>, (_head, names): (Resource<H>, WasmList<WasmStr>)| {
        Ok((get_many::<H>(&mut store, &names)?,))
    })?;
    types.func_wrap(&method("fields"), |store: Ctx<'_>, (_head,): (Resource<H>,)| {
        let fields = H::fields(&store.data().state)?.iter();
        Ok((fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect::<Vec<_>>(),))
    })?;
    types.func_wrap(
        &method("set"),
        |mut store: Ctx<'_>, (_head, name, value): (Resource<H>, WasmStr, WasmList<u8>)| -> Changed {
            let field = (store.data().names.get(&name.to_str(&store)?), fields::value(value.as_le_slice(&store)));
            change::<H>(&mut store, field, |head, name, value| head.set(name, value))
        },
    )?;
    types.func_wrap(
        &method("append"),
        |mut store: Ctx<'_>, (_head, name, value): (Resource<H>, WasmStr, WasmList<u8>)| -> Changed {
            let field = (store.data().names.get(&name.to_str(&store)?), fields::value(value.as_le_slice(&store)));
            change::<H>(&mut store, field, |head, name, value| head.append(name, value))
        },
    )?;
    types.func_wrap(&method("remove"), |mut store: Ctx<'_>, (_head, name): (Resource<H>, WasmStr)| -> Changed {
        let name = match store.data().names.get(&name.to_str(&store)?) {
            Ok(name) => name,
            Err(error) => return Ok((Err(error),)),
        };
        let data = store.data_mut();
        if H::writable(data.hook) {
            H::sized(&mut data.state)?.remove(name);
        }
        Ok((Ok(()),))
    })
}

type Checked<T> = std::result::Result<T, FieldError>;

fn change<H: Head>(
    store: &mut Ctx<'_>,
    field: (Checked<http::HeaderName>, Checked<HeaderValue>),
    with: fn(Fields<'_>, http::HeaderName, HeaderValue) -> Checked<()>,
) -> Changed {
    let data = store.data_mut();
    Ok((match field {
        (Ok(_), Ok(_)) if !H::writable(data.hook) => Ok(()),
        (Ok(name), Ok(value)) => with(H::sized(&mut data.state)?, name, value),
        (Err(error), _) | (_, Err(error)) => Err(error),
    },))
}

/// A guest may name one large field many times: what is copied for it is capped like what it passes in.
fn get_many<H: Head>(store: &mut Ctx<'_>, names: &WasmList<WasmStr>) -> Result<Vec<Option<Vec<u8>>>> {
    let mut left = store.data().slot.spec.limits.host_allocation_bytes;
    let mut values = Vec::with_capacity(names.len());
    for at in 0..names.len() {
        let Some(name) = names.get(&mut *store, at) else { break };
        let name = name?;
        let name = name.to_str(&*store)?;
        let value = H::fields(&store.data().state)?.get(&*name).map(|value| value.as_bytes().to_vec());
        let size = size_of::<Option<Vec<u8>>>() + value.as_ref().map_or(0, Vec::len);
        ensure!(size <= left, "get-many answers more than the plugin's host-allocation limit");
        left -= size;
        values.push(value);
    }
    Ok(values)
}

fn path_and_query(path: &str) -> Checked<PathAndQuery> {
    // `http` would cut a fragment off and let bytes past ASCII through.
    let clean = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !clean {
        return Err(FieldError::InvalidValue);
    }
    if path.len() >= usize::from(u16::MAX) {
        return Err(FieldError::TooLarge);
    }
    PathAndQuery::from_str(path).map_err(|_| FieldError::InvalidValue)
}

fn set_path(data: &mut StoreData, path: PathAndQuery) -> Checked<()> {
    let writable = RequestHead::writable(data.hook);
    let max = data.state.max_head_bytes;
    let Some(head) = data.state.request.as_mut().filter(|_| writable) else { return Ok(()) };
    if path.as_str().len() > max {
        return Err(FieldError::TooLarge);
    }
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    if parts.scheme.is_none() {
        // A target without a scheme is a path alone.
        parts.authority = None;
    }
    parts.path_and_query = Some(path);
    head.uri = Uri::from_parts(parts).map_err(|_| FieldError::InvalidValue)?;
    Ok(())
}

fn authority(name: &str) -> Checked<HeaderValue> {
    let parsed = Authority::from_str(name).map_err(|_| FieldError::InvalidValue)?;
    let port_is_good = parsed.as_str().len() == parsed.host().len() || parsed.port_u16().is_some();
    if name.contains('@') || parsed.host().is_empty() || !name.is_ascii() || !port_is_good {
        return Err(FieldError::InvalidValue);
    }
    HeaderValue::from_str(name).map_err(|_| FieldError::InvalidValue)
}

/// Not between codes that have a body and codes that cannot: the body is framed already.
fn replacement(old: StatusCode, new: u16) -> Checked<StatusCode> {
    let bodiless = |status: StatusCode| matches!(status.as_u16(), 204 | 304);
    match StatusCode::from_u16(new) {
        Ok(status) if (200..=599).contains(&new) && bodiless(old) == bodiless(status) => Ok(status),
        _ => Err(FieldError::InvalidValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_a_slash_and_is_clean() {
        for bad in ["", "a", "*", "/a b", "/a\r\n", "/a#b", "/é", "http://x/", "/\x7f"] {
            assert_eq!(path_and_query(bad), Err(FieldError::InvalidValue), "{bad:?}");
        }
        assert_eq!(path_and_query("/a?b=c").unwrap(), "/a?b=c");
        assert_eq!(path_and_query(&format!("/{}", "a".repeat(70_000))), Err(FieldError::TooLarge));
    }

    #[test]
    fn an_authority_is_a_host_and_maybe_a_port() {
        for bad in ["", "user@host", "host:", "host:x", "host:99999", "a b", "a/b", ":80", "é.example"] {
            assert_eq!(authority(bad), Err(FieldError::InvalidValue), "{bad:?}");
        }
        for good in ["host", "host:80", "192.0.2.1", "[2001:db8::1]:443", "[::1]"] {
            assert_eq!(authority(good).unwrap(), good);
        }
    }

    #[test]
    fn a_status_keeps_its_framing() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert_eq!(replacement(status(200), 404), Ok(status(404)));
        assert_eq!(replacement(status(304), 204), Ok(status(204)));
        for (old, new) in [(200, 204), (200, 304), (204, 200), (200, 101), (200, 199), (200, 600), (200, 0)] {
            assert_eq!(replacement(status(old), new), Err(FieldError::InvalidValue), "{old} to {new}");
        }
    }
}
