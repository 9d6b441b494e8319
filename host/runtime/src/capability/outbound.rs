//! `odin:plugin/outbound`: HTTP calls to clusters that the config grants. The one import that waits: a plugin that has
//! it runs on the async side. Must never send what the host would have to repair.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use odin_chain::fields::{Refused, checked};
use odin_chain::{Reply, heads};
use tokio::sync::oneshot;
use wasmtime::Trap;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::outbound::{OutboundCall, OutboundError};
use crate::store::{Ctx, Link, StoreData};

/// One hook call makes so many calls at most.
pub(crate) const MAX_CALLS: u32 = 16;
/// A call from inside a call, and so on: so deep at most.
const MAX_DEPTH: u8 = 4;
/// A call has at least so long: none at all would mean for ever to whoever waits.
const SHORTEST: Duration = Duration::from_millis(1);
/// The fields of one request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// `request` of wit/outbound.wit.
#[derive(ComponentType, Lift)]
#[component(record)]
struct WitRequest {
    cluster: String,
    method: String,
    path: String,
    authority: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
    body: Bytes,
    #[component(name = "timeout-ms")]
    timeout_ms: Option<u32>,
}

/// `response` of wit/types.wit, for a guest.
#[derive(ComponentType, Lower)]
#[component(record)]
struct WitResponse {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Bytes,
    trailers: Vec<(String, Vec<u8>)>,
}

/// `outbound-error` of wit/outbound.wit.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum WitError {
    #[component(name = "not-granted")]
    NotGranted,
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "unreachable")]
    Unreachable(String),
    #[component(name = "broken")]
    Broken(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "too-many")]
    TooMany,
    #[component(name = "unavailable")]
    Unavailable,
}

impl From<OutboundError> for WitError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::NotGranted => WitError::NotGranted,
            OutboundError::Invalid(what) => WitError::Invalid(what),
            OutboundError::Unreachable(why) => WitError::Unreachable(why),
            OutboundError::Broken(why) => WitError::Broken(why),
            OutboundError::Timeout => WitError::Timeout,
            OutboundError::TooLarge => WitError::TooLarge,
            OutboundError::TooMany => WitError::TooMany,
            OutboundError::Unavailable => WitError::Unavailable,
        }
    }
}

impl From<Reply> for WitResponse {
    fn from(reply: Reply) -> Self {
        let list = |fields: &HeaderMap| {
            fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
        };
        WitResponse {
            status: reply.head.status.as_u16(),
            fields: list(&reply.head.headers),
            trailers: list(&reply.trailers),
            body: reply.body,
        }
    }
}

/// Links the interface as functions that wait: for the linker of the async side.
pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    linker.instance("odin:plugin/outbound@0.1.0")?.func_wrap_async(
        "send",
        |mut store: Ctx<'_>, (request,): (WitRequest,)| {
            let data = store.data_mut();
            let over = data.deadline.pause(&data.slot.clock);
            let sent = (!over).then(|| send(data, request));
            // Here and not with the answer: whoever waits for it may go away.
            store.data().stats().outbound_calls.add(1);
            Box::new(async move {
                let answer = match sent.ok_or(Trap::Interrupt)? {
                    Ok(answer) => answer.await.unwrap_or_else(|_| Err(OutboundError::Broken(GIVEN_UP.to_owned()))),
                    Err(error) => Err(error),
                };
                let data = store.data_mut();
                data.stats().outbound_failures.add(u64::from(answer.is_err()));
                data.deadline.resume();
                Ok((answer.map(WitResponse::from).map_err(WitError::from),))
            })
        },
    )
}

const GIVEN_UP: &str = "the host gave the call up";

type Answer = oneshot::Receiver<Result<Reply, OutboundError>>;

/// Checks the call and hands it to the host.
fn send(data: &mut StoreData, request: WitRequest) -> Result<Answer, OutboundError> {
    let Some(sender) = data.outbound.as_ref().filter(|_| data.hook.has_exchange()) else {
        return Err(OutboundError::Unavailable);
    };
    let spec = &data.slot.spec;
    if !spec.grants.outbound.contains(&request.cluster) {
        return Err(OutboundError::NotGranted);
    }
    if data.outbound_calls >= MAX_CALLS || data.state.outbound_depth >= MAX_DEPTH {
        return Err(OutboundError::TooMany);
    }
    let limit = spec.limits.outbound_timeout;
    let asked = request.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
    let (answer, receiver) = oneshot::channel();
    let call = OutboundCall {
        plugin: data.slot.name.clone(),
        authority: authority(request.authority.as_deref())?,
        timeout: asked.map_or(limit, |asked| asked.clamp(SHORTEST.min(limit), limit)),
        max_body_bytes: spec.limits.body_bytes,
        depth: data.state.outbound_depth + 1,
        cluster: request.cluster,
        request: http_request(&request.method, &request.path, &request.fields, request.body)?,
        answer,
    };
    sender.send(call).map_err(|_| OutboundError::Unavailable)?;
    data.outbound_calls += 1;
    Ok(receiver)
}

fn authority(name: Option<&str>) -> Result<Option<http::HeaderValue>, OutboundError> {
    let invalid = |name| OutboundError::Invalid(format!("the authority {name:?} is no host with or without a port"));
    name.map(|name| heads::authority(name).map_err(|_| invalid(name))).transpose()
}

fn http_request(
    method: &str,
    path: &str,
    fields: &[(String, Vec<u8>)],
    body: Bytes,
) -> Result<Request<Bytes>, OutboundError> {
    let invalid = |what: String| OutboundError::Invalid(what);
    let method = heads::method(method).map_err(|_| invalid(format!("the method {method:?} is not allowed")))?;
    let path = heads::path_and_query(path).map_err(|_| invalid(format!("the path {path:?} is not allowed")))?;
    let fields = checked(fields, MAX_HEAD_BYTES).map_err(|refused| match refused {
        Refused::Field(name, error) => invalid(format!("the field {name:?} is refused: {}", error.in_words())),
        Refused::TooLarge => invalid(format!("its fields are over {MAX_HEAD_BYTES} bytes")),
    })?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    *request.headers_mut() = fields;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(method: &str, path: &str, field: (&str, &str)) -> String {
        let fields = [(field.0.to_owned(), field.1.as_bytes().to_vec())];
        match http_request(method, path, &fields, Bytes::new()) {
            Err(OutboundError::Invalid(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_checked_with_reasons() {
        assert_eq!(refusal("G T", "/", ("a", "b")), "the method \"G T\" is not allowed");
        assert_eq!(refusal("CONNECT", "/", ("a", "b")), "the method \"CONNECT\" is not allowed");
        assert_eq!(refusal("GET", "a b", ("a", "b")), "the path \"a b\" is not allowed");
        assert!(refusal("GET", "/", ("transfer-encoding", "chunked")).contains("frames"));
        assert!(refusal("GET", "/", ("a", "b\r\nc: d")).contains("control character"));
        assert!(authority(Some("a b")).is_err());
        assert_eq!(authority(None), Ok(None));
    }

    #[test]
    fn a_good_request_is_in_origin_form() {
        let fields = [("x-token".to_owned(), b"1".to_vec())];
        let request = http_request("POST", "/check?x=1", &fields, Bytes::from_static(b"body")).unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string()), ("POST", "/check?x=1".to_owned()));
        assert_eq!((&request.headers()["x-token"], &request.body()[..]), (&"1".parse().unwrap(), &b"body"[..]));
    }
}
