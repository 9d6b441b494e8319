//! `odin:plugin/request`: the head of the request. Must never let a plugin write a request line that another server
//! would read differently.

use std::str::FromStr;

use http::header::{HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, request};
use wasmtime::component::WasmStr;
use wasmtime::{Result, bail};

use crate::capability::message::{self, Changed, Checked, Message};
use crate::fields::{FieldError, Fields};
use crate::state::HookState;
use crate::store::{Ctx, Link, StoreData};

const NO_REQUEST: &str = "there is no request here";

struct Request;

impl Message for Request {
    fn fields(data: &StoreData) -> Result<&HeaderMap> {
        Ok(&head(data)?.headers)
    }

    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>> {
        let state = &mut *data.state;
        let Some(head) = &mut state.request else { bail!(NO_REQUEST) };
        Ok(state.request_open.then_some(Fields {
            fields: &mut head.headers,
            size: &mut state.request_size,
            max: state.max_head_bytes,
        }))
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
    request.func_wrap("set-method", |mut store: Ctx<'_>, (method,): (WasmStr,)| {
        let method = self::method(&method.to_str(&store)?);
        change(&mut store, method, |state, method| {
            if let Some(head) = &mut state.request {
                head.method = method;
            }
            Ok(())
        })
    })?;
    request.func_wrap("set-path", |mut store: Ctx<'_>, (path,): (WasmStr,)| {
        let path = path_and_query(&path.to_str(&store)?);
        change(&mut store, path, set_path)
    })?;
    request.func_wrap("set-scheme", |mut store: Ctx<'_>, (scheme,): (WasmStr,)| {
        let scheme = self::scheme(&scheme.to_str(&store)?);
        change(&mut store, scheme, |state, scheme| {
            state.scheme = scheme;
            Ok(())
        })
    })?;
    request.func_wrap("set-authority", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let authority = authority(&name.to_str(&store)?);
        change(&mut store, authority, |state, authority| {
            state.authority = authority;
            Ok(())
        })
    })
}

/// Applies a checked value, unless it is too late.
fn change<T>(store: &mut Ctx<'_>, value: Checked<T>, apply: fn(&mut HookState, T) -> Checked<()>) -> Changed {
    head(store.data())?;
    let state = &mut store.data_mut().state;
    if !state.request_open {
        return Ok((Err(FieldError::TooLate),));
    }
    Ok((value.and_then(|value| apply(state, value)),))
}

/// A token, and not `CONNECT`, which asks for something else than an exchange.
pub(crate) fn method(name: &str) -> Checked<Method> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT => Ok(method),
        _ => Err(FieldError::InvalidValue),
    }
}

/// An origin-form target that every server reads the same.
pub(crate) fn path_and_query(path: &str) -> Checked<PathAndQuery> {
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

fn set_path(state: &mut HookState, path: PathAndQuery) -> Checked<()> {
    let max = state.max_head_bytes;
    let Some(head) = &mut state.request else { return Ok(()) };
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

fn scheme(name: &str) -> Checked<Scheme> {
    match name {
        "http" => Ok(Scheme::HTTP),
        "https" => Ok(Scheme::HTTPS),
        _ => Err(FieldError::InvalidValue),
    }
}

/// A host, and maybe a port.
pub(crate) fn authority(name: &str) -> Checked<HeaderValue> {
    let parsed = Authority::from_str(name).map_err(|_| FieldError::InvalidValue)?;
    let port_is_good = parsed.as_str().len() == parsed.host().len() || parsed.port_u16().is_some();
    if name.contains('@') || parsed.host().is_empty() || !name.is_ascii() || !port_is_good {
        return Err(FieldError::InvalidValue);
    }
    HeaderValue::from_str(name).map_err(|_| FieldError::InvalidValue)
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
    fn a_method_is_a_token_and_not_connect() {
        for bad in ["", "G T", "CONNECT", "GET\r\n", "é"] {
            assert_eq!(method(bad), Err(FieldError::InvalidValue), "{bad:?}");
        }
        assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
        assert_eq!(scheme("ftp"), Err(FieldError::InvalidValue));
        assert_eq!(scheme("https"), Ok(Scheme::HTTPS));
    }
}
