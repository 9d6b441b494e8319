//! By what name the pages were asked for. A page in the operator's browser can read what listens on loopback once its own
//! name leads there (DNS rebinding), but it cannot hide that name.

use http::uri::Authority;
use http::{Request, header};

/// The name that a request is for, if it is neither an address nor `localhost`. A request without any host (HTTP/1.0) is
/// from no browser.
pub(super) fn name<B>(request: &Request<B>) -> Option<String> {
    let target = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let fields = request.headers().get_all(header::HOST).into_iter();
    let fields = fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    target.into_iter().chain(fields).find(|host| !host.is_empty() && !leads_nowhere_else(host))
}

fn leads_nowhere_else(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || v6.unwrap_or(host).parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_no_names() {
        let asked = |host: &str| name(&Request::get("/").header("host", host).body(()).expect("a request"));
        for host in ["localhost", "LocalHost:9901", "127.0.0.1:9901", "10.1.2.3", "[::1]:9901", "[::1]", ""] {
            assert_eq!(asked(host), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example", "a b", "1"]
        {
            assert_eq!(asked(host), Some(host.to_owned()));
        }
    }

    #[test]
    fn every_place_of_a_host_counts() {
        assert_eq!(name(&Request::get("/").body(()).expect("a request")), None);
        let whole = Request::get("http://evil.example/").header("host", "localhost").body(()).expect("a request");
        assert_eq!(name(&whole).as_deref(), Some("evil.example"));
        let two = Request::get("/").header("host", "localhost").header("host", "evil.example");
        assert_eq!(name(&two.body(()).expect("a request")).as_deref(), Some("evil.example"));
    }
}
