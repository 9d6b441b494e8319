//! The backend that speaks HTTP/2, by prior knowledge. Its responses have the fields and the body of the others.

use std::convert::Infallible;

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{BODY_BYTES, body};

/// Answers all requests of one connection.
pub(super) async fn answer(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let body = Bytes::from(body(BODY_BYTES));
    let service = service_fn(move |_: Request<Incoming>| {
        let response = response(body.clone());
        async { Ok::<_, Infallible>(response) }
    });
    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

fn response(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    for (name, value) in [
        ("server", "origin"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("etag", "\"5f2a-61d0\""),
    ] {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}
