//! What a filter may change of the two heads, of trailers, and of where the exchange goes. Must never let it write a request
//! line that another server would read differently, or change how a body is framed.

use std::str::FromStr;

use http::header::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, StatusCode};

use crate::fields::{FieldError, Fields};
use crate::state::{HookState, Routed, RoutingError};

/// A value that was checked, or what is wrong with it.
type Checked<T> = Result<T, FieldError>;

impl HookState {
    /// The request's fields, to change; none where there are none or it is too late.
    pub fn open_request(&mut self) -> Option<Fields<'_>> {
        let head = self.request.as_mut().filter(|_| self.request_open)?;
        Some(Fields { fields: &mut head.headers, size: &mut self.request_size, max: self.max_head_bytes })
    }

    /// The response's fields, to change; none where there are none or it is too late.
    pub fn open_response(&mut self) -> Option<Fields<'_>> {
        let head = self.response.as_mut().filter(|_| self.response_open)?;
        Some(Fields { fields: &mut head.headers, size: &mut self.response_size, max: self.max_head_bytes })
    }

    /// The fields behind a body, to change. Only for a trailer hook.
    pub fn open_trailers(&mut self) -> Fields<'_> {
        Fields { fields: &mut self.trailers, size: &mut self.trailers_size, max: self.max_head_bytes }
    }

    /// Replaces the method: a token, and not `CONNECT`.
    pub fn set_method(&mut self, name: &str) -> Checked<()> {
        let method = method(name);
        self.change_request(method, |state, method| {
            if let Some(head) = &mut state.request {
                head.method = method;
            }
            Ok(())
        })
    }

    /// Replaces path and query.
    pub fn set_path(&mut self, path: &str) -> Checked<()> {
        let path = path_and_query(path);
        self.change_request(path, replace_path)
    }

    /// Replaces the scheme: `http` or `https`.
    pub fn set_scheme(&mut self, name: &str) -> Checked<()> {
        let scheme = scheme(name);
        self.change_request(scheme, |state, scheme| {
            state.scheme = scheme;
            Ok(())
        })
    }

    /// Replaces the authority: a host, and maybe a port.
    pub fn set_authority(&mut self, name: &str) -> Checked<()> {
        let authority = authority(name);
        self.change_request(authority, |state, authority| {
            state.authority = authority;
            Ok(())
        })
    }

    /// Replaces the response's status.
    pub fn set_status(&mut self, status: u16) -> Checked<()> {
        let Some(head) = self.response.as_mut().filter(|_| self.response_open) else {
            return Err(FieldError::TooLate);
        };
        head.status = replacement(head.status, status)?;
        Ok(())
    }

    /// Applies a checked value, unless it is too late.
    fn change_request<T>(&mut self, value: Checked<T>, apply: fn(&mut HookState, T) -> Checked<()>) -> Checked<()> {
        if !self.request_open { Err(FieldError::TooLate) } else { apply(self, value?) }
    }

    /// Notes that the exchange or connection goes to this cluster. One that is not granted answers like one that is not
    /// there, so that a filter cannot find out which there are.
    pub fn set_cluster(&mut self, name: &str, granted: bool) -> Result<(), RoutingError> {
        match &self.routing {
            _ if !self.request_open => return Err(RoutingError::TooLate),
            Some(routing) if granted && routing.has_cluster(name) => {}
            _ => return Err(RoutingError::UnknownCluster),
        }
        self.routed = Some(Routed::Cluster(name.into()));
        Ok(())
    }

    /// Notes that the routes are to be matched again.
    pub fn rematch(&mut self) -> Result<(), RoutingError> {
        if !self.request_open {
            return Err(RoutingError::TooLate);
        }
        let (Some(routing), Some(request)) = (&self.routing, &self.request) else { return Err(RoutingError::NoRoute) };
        let authority = String::from_utf8_lossy(self.authority.as_bytes());
        if !routing.matches(&authority, &request.uri) {
            return Err(RoutingError::NoRoute);
        }
        self.routed = Some(Routed::Rematch);
        Ok(())
    }
}

/// A token, and not `CONNECT`, which asks for something else than an exchange.
pub fn method(name: &str) -> Checked<Method> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT => Ok(method),
        _ => Err(FieldError::InvalidValue),
    }
}

/// An origin-form target that every server reads the same.
pub fn path_and_query(path: &str) -> Checked<PathAndQuery> {
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

fn replace_path(state: &mut HookState, path: PathAndQuery) -> Checked<()> {
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
pub fn authority(name: &str) -> Checked<HeaderValue> {
    let parsed = Authority::from_str(name).map_err(|_| FieldError::InvalidValue)?;
    let port_is_good = parsed.as_str().len() == parsed.host().len() || parsed.port_u16().is_some();
    if name.contains('@') || parsed.host().is_empty() || !name.is_ascii() || !port_is_good {
        return Err(FieldError::InvalidValue);
    }
    HeaderValue::from_str(name).map_err(|_| FieldError::InvalidValue)
}

/// Not between codes that have a body, codes that cannot, and 101: what follows the head is framed already.
fn replacement(old: StatusCode, new: u16) -> Checked<StatusCode> {
    // What follows the head: a body, nothing, or another protocol.
    let follows = |status: StatusCode| match status.as_u16() {
        101 => 2,
        204 | 205 | 304 => 1,
        _ => 0,
    };
    match StatusCode::from_u16(new) {
        Ok(status) if (200..=599).contains(&new) && follows(old) == follows(status) => Ok(status),
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
    fn a_method_is_a_token_and_not_connect() {
        for bad in ["", "G T", "CONNECT", "GET\r\n", "é"] {
            assert_eq!(method(bad), Err(FieldError::InvalidValue), "{bad:?}");
        }
        assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
        assert_eq!(scheme("ftp"), Err(FieldError::InvalidValue));
        assert_eq!(scheme("https"), Ok(Scheme::HTTPS));
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
