//! HTTP backends: one by hyper that echoes what it saw or answers by a function, and one that is scripted byte by byte.
//!
//! A backend ends, with all its connections, when it is dropped.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Target;
use crate::body::{self, Body, hex};
use crate::raw::Raw;
use crate::tcp::{self, TcpPeer};
use crate::wait::within;

/// What a cluster speaks to its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Both of them, for a test that says the same about each.
pub const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Protocol {
    /// Its name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        }
    }
}

/// Which of the backend's connections a request came on; an extension of every request that a handler gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnConnection(pub usize);

#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<String>>,
    used: Mutex<BTreeSet<usize>>,
}

/// A backend by hyper.
pub struct HttpBackend {
    peer: TcpPeer,
    seen: Arc<Seen>,
    count: watch::Receiver<usize>,
    /// Its number goes up when the connections there are shall end gracefully.
    goodbyes: watch::Sender<usize>,
}

impl HttpBackend {
    /// Answers every request with 200 and, as JSON, what arrived.
    pub async fn echo(protocol: Protocol) -> HttpBackend {
        HttpBackend::named("echo", protocol).await
    }

    /// As [`HttpBackend::echo`], with a name of its own in the answer and in the field `backend`.
    pub async fn named(name: &'static str, protocol: Protocol) -> HttpBackend {
        HttpBackend::start(protocol, move |request| echo(name, request)).await
    }

    /// As [`HttpBackend::named`], on a port that listens already.
    pub fn named_on(listener: TcpListener, name: &'static str, protocol: Protocol) -> HttpBackend {
        HttpBackend::on(listener, protocol, move |request| echo(name, request))
    }

    /// Answers every request with 200 and this text, as fast as it can.
    pub async fn saying(text: &'static str) -> HttpBackend {
        HttpBackend::start(Protocol::Http1, move |_| async move { Response::new(body::full(text)) }).await
    }

    /// Answers by a function.
    pub async fn start<F>(
        protocol: Protocol,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> HttpBackend
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        HttpBackend::on(tcp::listen().await, protocol, handler)
    }

    fn on<F>(
        listener: TcpListener,
        protocol: Protocol,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> HttpBackend
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let seen = Arc::new(Seen::default());
        let (sender, count) = watch::channel(0);
        let (goodbyes, farewell) = watch::channel(0);
        let (all_seen, sender) = (Arc::clone(&seen), Arc::new(sender));
        let peer = TcpPeer::on(listener, move |stream, connection| {
            let (handler, seen, sender) = (Arc::clone(&handler), Arc::clone(&all_seen), Arc::clone(&sender));
            let service = service_fn(move |mut request: Request<Incoming>| {
                seen.paths.lock().unwrap().push(request.uri().path().to_string());
                seen.used.lock().unwrap().insert(connection);
                sender.send_modify(|count| *count += 1);
                request.extensions_mut().insert(OnConnection(connection));
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut farewell = farewell.clone();
            farewell.mark_unchanged();
            async move {
                let io = TokioIo::new(stream);
                // A connection that breaks is what many tests are about.
                let _ = match protocol {
                    Protocol::Http1 => {
                        let builder = hyper::server::conn::http1::Builder::new();
                        builder.serve_connection(io, service).with_upgrades().await
                    }
                    Protocol::Http2 => {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let mut connection = pin!(builder.serve_connection(io, service));
                        tokio::select! {
                            ended = connection.as_mut() => ended,
                            _ = farewell.changed() => {
                                connection.as_mut().graceful_shutdown();
                                connection.await
                            }
                        }
                    }
                };
            }
        });
        HttpBackend { peer, seen, count, goodbyes }
    }

    /// How many requests have arrived.
    pub fn requests(&self) -> usize {
        *self.count.borrow()
    }

    /// The paths of the requests so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.seen.paths.lock().unwrap().clone()
    }

    /// How many connections have carried a request.
    pub fn connections(&self) -> usize {
        self.seen.used.lock().unwrap().len()
    }

    /// Sends GOAWAY on every HTTP/2 connection there is, and finishes what runs on it.
    pub fn goodbye(&self) {
        self.goodbyes.send_modify(|number| *number += 1);
    }

    /// Waits until so many requests have arrived.
    pub async fn has_seen(&self, requests: usize) {
        let mut count = self.count.clone();
        let reached = count.wait_for(|count| *count >= requests);
        within("the backend sees the request", reached).await.expect("the backend runs");
    }
}

impl Target for HttpBackend {
    fn address(&self) -> SocketAddr {
        self.peer.address()
    }
}

async fn echo(name: &'static str, request: Request<Incoming>) -> Response<Body> {
    let connection = request.extensions().get::<OnConnection>().map(|OnConnection(number)| *number);
    let (head, incoming) = request.into_parts();
    let collected = incoming.collect().await;
    let (complete, content, trailers) = match collected {
        Ok(collected) => {
            let trailers = collected.trailers().map(pairs);
            (true, collected.to_bytes(), trailers)
        }
        Err(_) => (false, Default::default(), None),
    };
    let answer = json!({
        "backend": name,
        "connection": connection,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", head.version),
        "fields": pairs(&head.headers),
        "complete": complete,
        "body": String::from_utf8_lossy(&content[..content.len().min(4096)]),
        "length": content.len(),
        "sha256": hex(&Sha256::digest(&content)),
        "trailers": trailers,
    });
    let answer = answer.to_string();
    // Over HTTP/2 the library would send the body of an answer to HEAD.
    let content = match head.method {
        http::Method::HEAD => body::empty(),
        _ => body::full(answer.clone()),
    };
    Response::builder()
        .header("content-type", "application/json")
        .header("content-length", answer.len())
        .header("backend", name)
        .body(content)
        .expect("the echo is a response")
}

fn pairs(fields: &HeaderMap) -> Value {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    fields.iter().map(pair).collect()
}

/// The values of a field in what [`HttpBackend::echo`] answered.
pub fn echoed(answer: &Value, name: &str) -> Vec<String> {
    let fields = answer["fields"].as_array().expect("an echo has fields");
    let named = fields.iter().filter(|pair| pair[0] == name);
    named.map(|pair| pair[1].as_str().expect("a value is text").to_string()).collect()
}

/// A backend whose connections are served by a script that reads and writes bytes.
pub struct RawBackend(TcpPeer);

impl RawBackend {
    /// Serves each connection with `script(connection, its number)`.
    pub async fn start<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Raw, usize) -> F + Send + 'static,
    ) -> RawBackend {
        RawBackend(TcpPeer::start(move |stream, number| script(Raw::new(stream), number)).await)
    }

    /// Answers the first request of each connection with exactly these bytes and ends the connection.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> RawBackend {
        RawBackend::saying(bytes, false).await
    }

    /// Answers the first request of each connection with exactly these bytes, and then says nothing for as long as the
    /// connection lasts.
    pub async fn stalling_after(bytes: impl Into<Vec<u8>>) -> RawBackend {
        RawBackend::saying(bytes, true).await
    }

    async fn saying(bytes: impl Into<Vec<u8>>, stays: bool) -> RawBackend {
        let bytes: Arc<[u8]> = bytes.into().into();
        RawBackend::start(move |mut connection, _| {
            let bytes = Arc::clone(&bytes);
            async move {
                if connection.head().await.is_some() {
                    connection.send(&bytes).await;
                }
                if stays {
                    connection.rest().await;
                }
            }
        })
        .await
    }

    /// Reads requests and never answers.
    pub async fn silent() -> RawBackend {
        RawBackend::start(|mut connection, _| async move {
            connection.rest().await;
        })
        .await
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.0.connections()
    }
}

impl Target for RawBackend {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
