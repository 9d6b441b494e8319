//! An upstream that writes down every request, whole or not, and every byte that is none.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use odin_tests::{BodyEnd, HttpBackend, Protocol, RawBackend, Target, body};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// The target with its query; `?` and the bytes for what is no request.
    pub(crate) path: String,
    /// The fields; `:authority` of HTTP/2 is under `host`.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether head and body were whole.
    pub(crate) complete: bool,
}

impl Arrived {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

type Log = Arc<Mutex<Vec<Arrived>>>;

/// The upstream.
pub(crate) struct Recorder {
    log: Log,
    address: std::net::SocketAddr,
    _keep: Keep,
}

#[allow(dead_code, reason = "they are kept for as long as the recorder lives")]
enum Keep {
    Raw(RawBackend),
    Hyper(HttpBackend),
}

impl Target for Recorder {
    fn address(&self) -> std::net::SocketAddr {
        self.address
    }
}

impl Recorder {
    pub(crate) async fn start(protocol: Protocol) -> Recorder {
        let log = Log::default();
        let to = Arc::clone(&log);
        let keep = match protocol {
            Protocol::Http1 => Keep::Raw(
                RawBackend::start(move |connection, _| {
                    let to = Arc::clone(&to);
                    record_http1(connection, to)
                })
                .await,
            ),
            Protocol::Http2 => Keep::Hyper(
                HttpBackend::start(protocol, move |request| {
                    let to = Arc::clone(&to);
                    record_http2(request, to)
                })
                .await,
            ),
        };
        let address = match &keep {
            Keep::Raw(backend) => backend.address(),
            Keep::Hyper(backend) => backend.address(),
        };
        Recorder { log, address, _keep: keep }
    }

    /// All requests so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.log.lock().unwrap().clone()
    }
}

async fn record_http1(mut connection: odin_tests::Raw, to: Log) {
    while let Some(read) = connection.try_head().await {
        let head = match read {
            Ok(head) if head.start.ends_with(" HTTP/1.1") && head.start.split(' ').count() == 3 => head,
            Ok(head) => return to.lock().unwrap().push(garbage(&head.raw)),
            Err(raw) => return to.lock().unwrap().push(garbage(&raw)),
        };
        // Two framings, or two of one, would be for this upstream to choose from: nothing such may arrive.
        let framings = head.all("content-length").len() + head.all("transfer-encoding").len();
        if framings > 1 {
            return to.lock().unwrap().push(garbage(&head.raw));
        }
        let (body, _, end) = connection.body(&head, "").await;
        let complete = end == BodyEnd::Complete;
        let (path, fields) = (head.path().to_string(), head.fields.clone());
        to.lock().unwrap().push(Arrived { path, fields, body, complete });
        if !complete {
            return;
        }
        let answer = if head.method() == "HEAD" { "" } else { "ok" };
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{answer}")).await;
    }
}

fn garbage(raw: &[u8]) -> Arrived {
    Arrived {
        path: format!("?{}", String::from_utf8_lossy(raw)),
        fields: Vec::new(),
        body: Vec::new(),
        complete: false,
    }
}

async fn record_http2(request: http::Request<hyper::body::Incoming>, to: Log) -> http::Response<body::Body> {
    let (head, incoming) = request.into_parts();
    let text = |value: &http::HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>();
    let mut fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    fields.extend(head.uri.authority().map(|authority| ("host".to_string(), authority.to_string())));
    let path = head.uri.path_and_query().map_or(String::new(), |path| path.to_string());
    let (body, complete) = match incoming.collect().await {
        Ok(collected) => (collected.to_bytes().to_vec(), true),
        Err(_) => (Vec::new(), false),
    };
    to.lock().unwrap().push(Arrived { path, fields, body, complete });
    http::Response::new(body::full("ok"))
}
