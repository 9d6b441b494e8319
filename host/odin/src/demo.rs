//! Two small backends for `odin --plugin lb_rr.wasm` with nothing else: so that the first minute needs no other program.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::cli::{HTTP_CLUSTER, Start};

/// The clusters that the demo stands in for, each with the addresses of its backends.
pub(crate) struct Demo(Vec<(&'static str, Vec<SocketAddr>)>);

impl Demo {
    /// Starts backends for these clusters.
    pub(crate) async fn start(clusters: &[&'static str]) -> std::io::Result<Self> {
        let mut demo = Vec::new();
        for cluster in clusters {
            let addresses = if *cluster == HTTP_CLUSTER { start_http().await } else { start_tcp().await };
            demo.push((*cluster, addresses?));
        }
        Ok(Demo(demo))
    }

    /// Gives the clusters the addresses of their backends.
    pub(crate) fn complete(&self, start: &mut Start) {
        for (cluster, addresses) in &self.0 {
            start.set_endpoints(cluster, addresses.iter().copied());
        }
    }
}

/// How many there are.
const BACKENDS: usize = 2;

/// Starts HTTP backends that say who they are.
async fn start_http() -> std::io::Result<Vec<SocketAddr>> {
    start(|stream, number| async move {
        let service =
            service_fn(move |request: Request<Incoming>| async move { Ok::<_, Infallible>(hello(number, &request)) });
        // A client that breaks off is no news.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// Starts TCP backends that say who they are and then echo.
async fn start_tcp() -> std::io::Result<Vec<SocketAddr>> {
    start(|mut stream, number| async move {
        let greeting = format!("hello from TCP demo backend {number}; what you send comes back\n");
        if stream.write_all(greeting.as_bytes()).await.is_ok() {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    })
    .await
}

async fn start<F, S>(serve: S) -> std::io::Result<Vec<SocketAddr>>
where
    F: Future<Output = ()> + 'static,
    S: Fn(TcpStream, usize) -> F + Copy + 'static,
{
    let mut addresses = Vec::new();
    for number in 1..=BACKENDS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::task::spawn_local(serve(stream, number));
            }
        });
    }
    Ok(addresses)
}

fn hello(number: usize, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
    let text = format!("hello from demo backend {number}: {} {} (request {id})\n", request.method(), request.uri());
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
