//! One exchange: digests the request as it comes, and sets the digest on the request and on the response.
//!
//! It is the stream of answers itself, made from the stream of messages; it must never answer what was not asked.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::protocol::header_value_option::AppendAction;
use crate::protocol::processing_request::Request;
use crate::protocol::processing_response::Response;
use crate::protocol::{
    CommonResponse, HeaderMap, HeaderMutation, HeaderValue, HeaderValueOption, PhaseResponse, ProcessingRequest,
    ProcessingResponse,
};

const DIGEST: Bytes = Bytes::from_static(b"x-request-digest");
const APPLIED: Bytes = Bytes::from_static(b"x-ext-procs-applied");
const NAME: Bytes = Bytes::from_static(b"digest");
const NO_TENANT: &[u8] = b"unknown";

/// The answers to the messages of one exchange.
pub(crate) struct Exchange {
    messages: Streaming<ProcessingRequest>,
    request: Digesting,
}

impl Exchange {
    pub(crate) fn new(messages: Streaming<ProcessingRequest>) -> Self {
        Exchange { messages, request: Digesting::default() }
    }
}

impl Stream for Exchange {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let message = ready!(Pin::new(&mut this.messages).poll_next(context));
        Poll::Ready(message.map(|message| this.request.answer(message?)))
    }
}

/// What is known of the request's digest.
#[derive(Default)]
struct Digesting {
    so_far: Sha256,
    /// In hexadecimal, when the request has come to its end.
    digest: Bytes,
}

impl Digesting {
    fn answer(&mut self, message: ProcessingRequest) -> Result<ProcessingResponse, Status> {
        let response = match message.request {
            Some(Request::RequestHeaders(head)) => {
                self.head(&head.headers.unwrap_or_default());
                Response::RequestHeaders(self.request_phase(head.end_of_stream))
            }
            Some(Request::RequestBody(piece)) => {
                self.so_far.update(&piece.body);
                Response::RequestBody(self.request_phase(piece.end_of_stream))
            }
            Some(Request::ResponseHeaders(_)) => Response::ResponseHeaders(set(vec![
                field(DIGEST, self.digest.clone(), AppendAction::OverwriteOrAdd),
                field(APPLIED, NAME, AppendAction::AppendOrAdd),
            ])),
            None => return Err(Status::unimplemented("only request headers, request body and response headers")),
        };
        Ok(ProcessingResponse { response: Some(response) })
    }

    fn head(&mut self, fields: &HeaderMap) {
        let (mut tenant, mut method, mut path) = (NO_TENANT, &b""[..], &b""[..]);
        for HeaderValue { key, raw_value } in &fields.headers {
            match key.as_ref() {
                b"x-tenant-id" => tenant = raw_value,
                b":method" => method = raw_value,
                b":path" => path = raw_value,
                _ => {}
            }
        }
        self.so_far.update(tenant);
        self.so_far.update(method);
        self.so_far.update(path);
    }

    fn request_phase(&mut self, end: bool) -> PhaseResponse {
        if !end {
            return PhaseResponse::default();
        }
        self.digest = hexadecimal(&self.so_far.finalize_reset());
        set(vec![field(DIGEST, self.digest.clone(), AppendAction::OverwriteOrAdd)])
    }
}

fn field(key: Bytes, raw_value: Bytes, action: AppendAction) -> HeaderValueOption {
    HeaderValueOption { header: Some(HeaderValue { key, raw_value }), append_action: action.into() }
}

fn set(set_headers: Vec<HeaderValueOption>) -> PhaseResponse {
    PhaseResponse { response: Some(CommonResponse { header_mutation: Some(HeaderMutation { set_headers }) }) }
}

fn hexadecimal(bytes: &[u8]) -> Bytes {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{HttpBody, HttpHeaders};

    fn head(method: &'static str, end_of_stream: bool) -> ProcessingRequest {
        let fields = [(":method", method), (":path", "/something"), ("accept", "*/*")];
        let headers = fields.map(|(key, value)| HeaderValue { key: key.into(), raw_value: value.into() }).to_vec();
        let head = HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream };
        ProcessingRequest { request: Some(Request::RequestHeaders(head)) }
    }

    #[test]
    fn a_request_without_a_body_is_digested_with_its_head() -> Result<(), Status> {
        let mut request = Digesting::default();
        request.answer(head("GET", true))?;
        assert_eq!(request.digest, "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6");
        Ok(())
    }

    #[test]
    fn a_body_goes_into_the_digest_and_the_digest_onto_request_and_response() -> Result<(), Status> {
        let digest = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";
        let mut request = Digesting::default();
        let nothing = Some(Response::RequestHeaders(PhaseResponse::default()));
        assert_eq!(request.answer(head("PUT", false))?.response, nothing);
        let body = HttpBody { body: r#"{"hello":"hi"}"#.into(), end_of_stream: true };
        let answer = request.answer(ProcessingRequest { request: Some(Request::RequestBody(body)) })?;
        let on_request = field(DIGEST, digest.into(), AppendAction::OverwriteOrAdd);
        assert_eq!(answer.response, Some(Response::RequestBody(set(vec![on_request.clone()]))));
        let response = Request::ResponseHeaders(HttpHeaders::default());
        let answer = request.answer(ProcessingRequest { request: Some(response) })?;
        let on_response = set(vec![on_request, field(APPLIED, NAME, AppendAction::AppendOrAdd)]);
        assert_eq!(answer.response, Some(Response::ResponseHeaders(on_response)));
        Ok(())
    }
}
