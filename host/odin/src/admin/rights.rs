//! Who may do what: by which way a request came, whether it carries the token, and whether a web page sent it.

use http::{HeaderMap, Method, Request, StatusCode, header};

use super::connections::Way;
use super::token::{Sent, Token};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// See the pages, without secrets.
    Read,
    /// See everything and give orders.
    All,
}

/// The rights of a request, or why it is refused.
pub(super) fn of<B>(way: Way, token: Option<&Token>, request: &Request<B>) -> Result<Rights, (StatusCode, String)> {
    if way == Way::Unix {
        return Ok(Rights::All);
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && from_web_page(request.headers()) {
        return Err((StatusCode::FORBIDDEN, "orders are not taken from web pages\n".to_owned()));
    }
    match Token::sent(token, request.headers()) {
        Sent::Right => Ok(Rights::All),
        Sent::Wrong => Err((StatusCode::UNAUTHORIZED, "this is not the token of `admin-token-file`\n".to_owned())),
        Sent::Nothing => Ok(Rights::Read),
    }
}

/// A page in the operator's browser would reach what listens on loopback. Browsers say that it was a page by `Origin`,
/// or, where they leave that out, by `Sec-Fetch-Site`.
fn from_web_page(fields: &HeaderMap) -> bool {
    let elsewhere = |site: &http::HeaderValue| ![&b"same-origin"[..], b"none"].contains(&site.as_bytes());
    fields.contains_key(header::ORIGIN) || fields.get_all("sec-fetch-site").iter().any(elsewhere)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of_post(way: Way, field: Option<(&str, &str)>) -> Result<Rights, u16> {
        let request =
            field.into_iter().fold(Request::post("/reload"), |request, (name, value)| request.header(name, value));
        of(way, None, &request.body(()).unwrap()).map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn what_a_web_page_sends_is_refused() {
        for field in [
            ("origin", "http://localhost:9901"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", ""),
        ] {
            assert_eq!(of_post(Way::Tcp, Some(field)), Err(403), "{field:?}");
        }
        for field in [None, Some(("sec-fetch-site", "none")), Some(("sec-fetch-site", "same-origin"))] {
            assert_eq!(of_post(Way::Tcp, field), Ok(Rights::Read), "{field:?}");
        }
    }

    #[test]
    fn the_socket_gives_every_right_and_a_token_that_nobody_set_gives_none() {
        assert_eq!(of_post(Way::Unix, None), Ok(Rights::All));
        assert_eq!(of_post(Way::Tcp, Some(("authorization", "Bearer x"))), Err(401));
    }
}
