//! What a header hook answers, checked and turned into the host's own words.
//! Must never let through a reply that would break the framing of the client's connection.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use wasmtime::component::{ComponentType, Lift};

use crate::capability::fields::{self, FieldError};
use crate::state::Decision;

/// `decision` of wit/types.wit.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitDecision {
    #[component(name = "continue")]
    Continue,
    #[component(name = "reply")]
    Reply(WitResponse),
    #[component(name = "reject")]
    Reject(String),
}

/// `response` of wit/types.wit.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WitResponse {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A decision other than to go on; a response is large, and going on is what nearly every call answers.
pub(crate) type Unusual = Option<Box<Decision>>;

/// The decision, or what is wrong with it.
pub(crate) fn decision(answer: WitDecision, max_head_bytes: usize) -> Result<Unusual, String> {
    match answer {
        WitDecision::Continue => Ok(None),
        WitDecision::Reject(reason) => Ok(Some(Box::new(Decision::Reject(reason)))),
        WitDecision::Reply(response) => Ok(Some(Box::new(Decision::Reply(reply(response, max_head_bytes)?)))),
    }
}

fn reply(answer: WitResponse, max_head_bytes: usize) -> Result<Response<Bytes>, String> {
    let code = answer.status;
    let status = match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => status,
        _ => return Err(format!("a reply with status {code}, which is not 200 to 599")),
    };
    if matches!(code, 204 | 205 | 304) && !answer.body.is_empty() {
        return Err(format!("a reply with status {code} and a body"));
    }
    let mut headers = HeaderMap::with_capacity(answer.fields.len().min(64));
    let mut bytes = 0;
    for (name, value) in &answer.fields {
        let refused = |error| format!("a reply whose field {name:?} is refused: {}", in_words(error));
        let (name, value) = (fields::name(name).map_err(refused)?, fields::value(value).map_err(refused)?);
        bytes += fields::size(&name, &value);
        if bytes > max_head_bytes || headers.try_append(name, value).is_err() {
            return Err(format!("a reply with a head over {max_head_bytes} bytes"));
        }
    }
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn in_words(error: FieldError) -> &'static str {
    match error {
        FieldError::InvalidName => "the name is not a token",
        FieldError::InvalidValue => "the value holds a control character",
        FieldError::Forbidden => "the host frames the message",
        FieldError::TooLarge => "too large",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)], body: &str) -> Result<Decision, String> {
        let fields = fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        decision(WitDecision::Reply(WitResponse { status, fields, body: body.into() }), 100)
            .map(|reply| *reply.unwrap())
    }

    #[test]
    fn a_reply_becomes_a_response() {
        let Ok(Decision::Reply(response)) = answer(429, &[("Retry-After", "1"), ("a", "1"), ("a", "2")], "slow") else {
            panic!("not a reply");
        };
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers().get_all("a").iter().count(), 2);
        assert_eq!(response.body(), "slow");
    }

    #[test]
    fn bad_replies_are_refused_with_a_reason() {
        let refused = |status, fields: &[(&str, &str)], body| answer(status, fields, body).unwrap_err();
        assert!(refused(101, &[], "").contains("status 101"));
        assert!(refused(0, &[], "").contains("status 0"));
        assert!(refused(204, &[], "x").contains("a body"));
        assert!(refused(200, &[("content-length", "3")], "x").contains("\"content-length\""));
        assert!(refused(200, &[("a b", "3")], "x").contains("token"));
        assert!(refused(200, &[("a", "1\r\nb: 2")], "x").contains("control character"));
        assert!(refused(200, &[("a", &"x".repeat(100))], "").contains("over 100 bytes"));
    }
}
