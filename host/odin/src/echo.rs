//! `odin echo`: a backend for trying plugins out. It answers every request with what arrived, as JSON.
//! Must never be anything that a person would put into service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A larger body is not echoed.
const MAX_BODY: usize = 1 << 20;

/// Listens and answers until the process ends.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("odin echo: http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await.context("accept failed")?;
        let _ = stream.set_nodelay(true);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(echo(request).await) });
            // A client that breaks off is no news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return answer(StatusCode::PAYLOAD_TOO_LARGE, format!("{{\"error\": \"{error}\"}}\n")),
    };
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = fields.entry(name.as_str()).or_default();
        *joined = if joined.is_empty() { value.into_owned() } else { format!("{joined}, {value}") };
    }
    let seen = serde_json::json!({
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "fields": fields,
        "body": String::from_utf8_lossy(&body),
    });
    answer(StatusCode::OK, format!("{seen:#}\n"))
}

fn answer(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
