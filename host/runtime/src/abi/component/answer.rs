//! What hooks answer, as it comes out of a component, checked and turned into the host's own words.
//! Must never let through a reply that would break the framing of the client's connection.

use odin_chain::{BodyMode, ConnectDecision, Decision, PieceDecision, Reply};
use wasmtime::component::{ComponentType, Lift};

use crate::abi::ask::Reads;
use crate::words;

// Boxed slices and strings, where a `Vec` or `String` would do: an answer is moved a few times before it is looked at,
// and nearly all of them are but a word.

/// A list of fields, from a guest.
type WitFields = Box<[(String, Vec<u8>)]>;

/// `response` of wit/types.wit, from a guest.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WitResponse {
    status: u16,
    fields: WitFields,
    body: Box<[u8]>,
    trailers: WitFields,
}

/// `body-mode` of wit/types.wit.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests construct it")]
pub(crate) enum WitBodyMode {
    #[component(name = "skip")]
    Skip,
    #[component(name = "stream")]
    Stream,
    #[component(name = "buffer")]
    Buffer,
    #[component(name = "hold")]
    Hold,
}

/// `decision` of wit/types.wit.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitDecision {
    #[component(name = "continue")]
    Continue,
    #[component(name = "read")]
    Read(WitBodyMode),
    #[component(name = "reply")]
    Reply(WitResponse),
    #[component(name = "reject")]
    Reject(Box<str>),
    #[component(name = "cut")]
    Cut(Box<str>),
}

/// `piece-decision` of wit/types.wit.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitPieceDecision {
    #[component(name = "pass")]
    Pass,
    #[component(name = "replace")]
    Replace(Box<[u8]>),
    #[component(name = "append")]
    Append(Box<[u8]>),
    #[component(name = "hold")]
    Hold,
    #[component(name = "skip")]
    Skip,
    #[component(name = "reply")]
    Reply(WitResponse),
    #[component(name = "reject")]
    Reject(Box<str>),
    #[component(name = "cut")]
    Cut(Box<str>),
}

/// `data-decision` of wit/tcp-data.wit.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitDataDecision {
    #[component(name = "pass")]
    Pass,
    #[component(name = "replace")]
    Replace(Box<[u8]>),
    #[component(name = "append")]
    Append(Box<[u8]>),
    #[component(name = "hold")]
    Hold,
    #[component(name = "skip")]
    Skip,
    #[component(name = "cut")]
    Cut(Box<str>),
}

/// `connect-decision` of wit/connection.wit.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitConnectDecision {
    #[component(name = "continue")]
    Continue,
    #[component(name = "skip-data")]
    SkipData,
    #[component(name = "reject")]
    Reject(Box<str>),
}

/// The decision of a header or trailer hook, or what is wrong with it.
#[inline]
pub(crate) fn decision(answer: WitDecision, reads: Reads, max_head_bytes: usize) -> Result<Decision, String> {
    Ok(match answer {
        WitDecision::Continue => Decision::Continue,
        WitDecision::Read(mode) => match reads {
            Reads::Yes => Decision::Read(body_mode(mode)),
            Reads::NoBodyHook => Decision::Continue,
            Reads::TooLate => return Err("`read`, which only a header hook may answer".to_owned()),
        },
        WitDecision::Reply(response) => Decision::Reply(reply(response, max_head_bytes)?),
        WitDecision::Reject(reason) => Decision::Reject(words::one_line(&reason)),
        WitDecision::Cut(reason) => Decision::Cut(words::one_line(&reason)),
    })
}

/// The decision of a body hook.
#[inline]
pub(crate) fn piece(answer: WitPieceDecision, max_head_bytes: usize) -> Result<PieceDecision, String> {
    Ok(match answer {
        WitPieceDecision::Pass => PieceDecision::Pass,
        WitPieceDecision::Replace(bytes) => PieceDecision::Replace(bytes.into()),
        WitPieceDecision::Append(bytes) => PieceDecision::Append(bytes.into()),
        WitPieceDecision::Hold => PieceDecision::Hold,
        WitPieceDecision::Skip => PieceDecision::Skip,
        WitPieceDecision::Reply(response) => PieceDecision::Reply(reply(response, max_head_bytes)?),
        WitPieceDecision::Reject(reason) => PieceDecision::Reject(words::one_line(&reason)),
        WitPieceDecision::Cut(reason) => PieceDecision::Cut(words::one_line(&reason)),
    })
}

/// The decision of a data hook: they are some of those about bodies.
#[inline]
pub(crate) fn data(answer: WitDataDecision) -> PieceDecision {
    match answer {
        WitDataDecision::Pass => PieceDecision::Pass,
        WitDataDecision::Replace(bytes) => PieceDecision::Replace(bytes.into()),
        WitDataDecision::Append(bytes) => PieceDecision::Append(bytes.into()),
        WitDataDecision::Hold => PieceDecision::Hold,
        WitDataDecision::Skip => PieceDecision::Skip,
        WitDataDecision::Cut(reason) => PieceDecision::Cut(words::one_line(&reason)),
    }
}

/// The decision of `on-connect`.
pub(crate) fn connect(answer: WitConnectDecision) -> ConnectDecision {
    match answer {
        WitConnectDecision::Continue => ConnectDecision::Continue,
        WitConnectDecision::SkipData => ConnectDecision::SkipData,
        WitConnectDecision::Reject(reason) => ConnectDecision::Reject(words::one_line(&reason)),
    }
}

fn body_mode(mode: WitBodyMode) -> BodyMode {
    match mode {
        WitBodyMode::Skip => BodyMode::Skip,
        WitBodyMode::Stream => BodyMode::Stream,
        WitBodyMode::Buffer => BodyMode::Buffer,
        WitBodyMode::Hold => BodyMode::Hold,
    }
}

#[cold]
fn reply(answer: WitResponse, max_head_bytes: usize) -> Result<Box<Reply>, String> {
    let WitResponse { status, fields, body, trailers } = answer;
    Reply::checked(status, &fields, body.into(), &trailers, max_head_bytes).map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> WitFields {
        list.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
    }

    fn answer(status: u16, list: &[(&str, &str)], body: &'static str) -> Result<Box<Reply>, String> {
        reply(
            WitResponse { status, fields: fields(list), body: body.as_bytes().into(), trailers: WitFields::default() },
            100,
        )
    }

    #[test]
    fn a_reply_becomes_a_response() {
        let reply = answer(429, &[("Retry-After", "1"), ("a", "1"), ("a", "2")], "slow").unwrap();
        assert_eq!(reply.head.status, 429);
        assert_eq!(reply.head.headers["retry-after"], "1");
        assert_eq!(reply.head.headers.get_all("a").iter().count(), 2);
        assert_eq!(reply.body, "slow");
    }

    #[test]
    fn trailers_are_kept_and_checked_like_fields() {
        let with = |name| WitResponse {
            status: 200,
            fields: WitFields::default(),
            body: Box::default(),
            trailers: fields(&[(name, "1")]),
        };
        assert_eq!(reply(with("x-sum"), 100).unwrap().trailers["x-sum"], "1");
        assert!(reply(with("content-length"), 100).unwrap_err().contains("frames"));
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

    #[test]
    fn only_a_header_hook_reads_a_body() {
        let read = |reads| decision(WitDecision::Read(WitBodyMode::Hold), reads, 100);
        assert!(matches!(read(Reads::Yes), Ok(Decision::Read(BodyMode::Hold))));
        assert!(matches!(read(Reads::NoBodyHook), Ok(Decision::Continue)));
        assert!(read(Reads::TooLate).unwrap_err().contains("only a header hook"));
    }
}
