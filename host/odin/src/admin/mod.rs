//! The admin listener: health, metrics, and what Odin knows about itself. Not for clients; loopback by default.

mod pages;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use odin_runtime::Swap;
use tokio::net::TcpListener;

use crate::odin::Odin;
use crate::prometheus;

/// The largest plugin that may be posted.
const MAX_PLUGIN: usize = 64 * 1024 * 1024;

type Page = Response<Full<Bytes>>;

/// The admin listener, bound and not yet serving.
pub(crate) struct Admin(TcpListener);

impl Admin {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Admin)
    }

    /// With port zero, what the system chose.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until Odin ends.
    pub(crate) async fn serve(self, odin: Rc<Odin>) {
        loop {
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "admin: accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            let odin = odin.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| {
                    let odin = odin.clone();
                    async move { Ok::<_, Infallible>(answer(&odin, request).await) }
                });
                // A client that breaks off is no news.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

async fn answer(odin: &Odin, request: Request<Incoming>) -> Page {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, path) if path.starts_with("/plugins/") => {
            swap(odin, path.trim_start_matches("/plugins/"), request).await
        }
        (&Method::GET | &Method::HEAD, path) => match path {
            "/" => text(StatusCode::OK, "/healthz\n/readyz\n/metrics\n/plugins\n/clusters\n/config\n"),
            "/healthz" => match odin.with_proxy(|proxy| proxy.alive()) {
                Some(false) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker has ended\n"),
                _ => text(StatusCode::OK, "ok\n"),
            },
            "/readyz" => match odin.with_proxy(|proxy| proxy.alive()) {
                Some(true) => text(StatusCode::OK, "ready\n"),
                Some(false) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker has ended\n"),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            "/metrics" => page(StatusCode::OK, prometheus::CONTENT_TYPE, prometheus::render(odin)),
            "/plugins" => json(&pages::plugins(odin)),
            "/clusters" => json(&pages::clusters(odin)),
            "/config" => json(&pages::config(odin)),
            _ => text(StatusCode::NOT_FOUND, "no such page; / lists them\n"),
        },
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET a page, or POST /plugins/NAME with a .wasm file\n"),
    }
}

async fn swap(odin: &Odin, name: &str, request: Request<Incoming>) -> Page {
    if !odin.assembly().plugins.contains_key(name) {
        return text(StatusCode::NOT_FOUND, format!("no plugin is named {name:?}; GET /plugins lists them\n"));
    }
    let wasm = match Limited::new(request.into_body(), MAX_PLUGIN).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("cannot read the plugin: {error}\n")),
    };
    let (generation, swapped) = match odin.swap(name, &wasm) {
        Ok(Swap::Swapped { generation }) => (generation, true),
        Ok(Swap::Unchanged { generation }) => (generation, false),
        Err(error) => {
            tracing::error!(plugin = name, "not swapped, the old generation serves on: {error:#}");
            return text(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("not swapped, the old generation serves on: {error:#}\n"),
            );
        }
    };
    json(&serde_json::json!({ "name": name, "generation": generation, "swapped": swapped }))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, "text/plain; charset=utf-8", body)
}

fn json(value: &serde_json::Value) -> Page {
    page(StatusCode::OK, "application/json", format!("{value:#}\n"))
}
