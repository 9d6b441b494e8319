//! The admin listener: health, metrics, and what Odin knows about itself. Not for clients; loopback by default.

mod host;
mod pages;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use odin_runtime::Swap;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::diff::Change;
use crate::odin::Odin;
use crate::{prometheus, sockets};

/// The largest plugin that may be posted.
const MAX_PLUGIN: usize = 64 * 1024 * 1024;

/// More connections are closed at once: their descriptors are those of the data path.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may be without a whole request, be it a new one or one that has had its answer.
const HEAD: Duration = Duration::from_secs(10);

/// How long a posted plugin may take to arrive.
const BODY: Duration = Duration::from_secs(30);

/// How long a client may leave an answer in the connection without taking any of it.
const UNREAD: Duration = Duration::from_secs(30);

/// How long answers that are due when the pages end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

type Page = Response<Full<Bytes>>;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<anyhow::Result<T>>;

/// What only the life of the process can do.
pub(crate) enum Order {
    Reload(Reply<Vec<Change>>),
    /// Answers the process id of the one that has taken over.
    Upgrade(Reply<u32>),
}

/// What the pages are about, and whom to tell of orders.
struct Desk {
    odin: Rc<Odin>,
    orders: UnboundedSender<Order>,
    /// Only this host can reach the pages.
    loopback: bool,
}

/// The admin listener, bound and not yet serving.
pub(crate) struct Admin(StdListener);

impl Admin {
    /// Listens; goes on with the socket of a process before this one if it is for the same address.
    pub(crate) fn bind(address: SocketAddr, inherited: Option<StdListener>) -> io::Result<Self> {
        let before = inherited.as_ref().and_then(|socket| socket.local_addr().ok());
        let same = |before: SocketAddr| before.ip() == address.ip() && [0, before.port()].contains(&address.port());
        let socket = match inherited.filter(|_| before.is_some_and(same)) {
            Some(socket) => socket,
            None => {
                let _turn = odin_steer::turn();
                // Of a process before this one the socket may have the port at another address, and shares it.
                if address.port() != 0 && before.is_none_or(|before| before.port() != address.port()) {
                    sockets::is_free(address)?;
                }
                let socket = odin_proxy::bind(address)?;
                odin_proxy::listen(&socket)?;
                socket
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Admin(socket))
    }

    /// With port zero, what the system chose.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The same socket, for whoever takes over.
    pub(crate) fn share(&self) -> io::Result<Arc<StdListener>> {
        self.0.try_clone().map(Arc::new)
    }

    /// Serves until it is stopped.
    pub(crate) fn serve(self, odin: Rc<Odin>, orders: UnboundedSender<Order>) -> io::Result<Serving> {
        let loopback = self.address()?.ip().to_canonical().is_loopback();
        let listener = TcpListener::from_std(self.0)?;
        let (stop, stopped) = watch::channel(());
        let desk = Rc::new(Desk { odin, orders, loopback });
        Ok(Serving { stop, task: tokio::task::spawn_local(serve(listener, desk, stopped)) })
    }
}

/// The admin pages, being served.
pub(crate) struct Serving {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Accepts no more at once; what it answers ends when the answers that are due have been given.
    pub(crate) fn stop(self) -> impl Future<Output = ()> {
        drop(self.stop);
        async {
            // It ends in any case; how does not matter.
            let _ = tokio::time::timeout(LAST_ANSWERS, self.task).await;
        }
    }
}

async fn serve(listener: TcpListener, desk: Rc<Desk>, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // Who comes now is for the process that has taken over. The sender is gone: that is the signal.
            biased;
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() >= MAX_CONNECTIONS => drop(stream),
            Ok((stream, _)) => drop(connections.spawn_local(answer_all(stream, desk.clone(), stopped.clone()))),
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn answer_all(stream: TcpStream, desk: Rc<Desk>, mut stopped: watch::Receiver<()>) {
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
    });
    // Not set, it is a connection that the limit on their number has to do with.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off is no news.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Page {
    let odin = &desk.odin;
    let path = request.uri().path().to_owned();
    // Who lets others reach the pages gives this host a name for that, and has to say who may.
    if let Some(name) = host::name(&request).filter(|_| desk.loopback) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            format!("these pages are not those of {name:?}: ask for them by localhost or by an IP address\n"),
        );
    }
    if request.method() == Method::POST && request.headers().contains_key(header::ORIGIN) {
        // A page in the operator's browser would reach what listens on loopback.
        return text(StatusCode::FORBIDDEN, "orders are not taken from web pages\n");
    }
    match (request.method(), path.as_str()) {
        (&Method::POST, "/reload") => changed(ordered(desk, Order::Reload).await),
        (&Method::POST, "/upgrade") => match ordered(desk, Order::Upgrade).await {
            Ok(pid) => json(&serde_json::json!({ "pid": pid })),
            Err(error) => refused(&error),
        },
        (&Method::POST, path) if path.starts_with("/plugins/") => {
            swap(odin, path.trim_start_matches("/plugins/"), request).await
        }
        (&Method::GET | &Method::HEAD, path) => match path {
            "/" => text(
                StatusCode::OK,
                "/healthz\n/readyz\n/metrics\n/listeners\n/clusters\n/plugins\n/config\n/diff\nPOST /reload\nPOST /upgrade\nPOST /plugins/NAME\n",
            ),
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
            "/listeners" => json(&pages::listeners(odin)),
            "/clusters" => json(&pages::clusters(odin)),
            "/plugins" => json(&pages::plugins(odin)),
            "/config" => json(&pages::config(odin)),
            "/diff" => changed(odin.diff()),
            _ => text(StatusCode::NOT_FOUND, "no such page; / lists them\n"),
        },
        _ => text(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET a page, or POST /reload, /upgrade, or /plugins/NAME with a .wasm file\n",
        ),
    }
}

/// Hands an order on, and waits until it was obeyed.
async fn ordered<T>(desk: &Desk, order: impl FnOnce(Reply<T>) -> Order) -> anyhow::Result<T> {
    let (reply, answer) = oneshot::channel();
    // A process that drains takes no orders; then the answer is gone too.
    let _ = desk.orders.send(order(reply));
    answer.await.unwrap_or_else(|_| Err(anyhow::anyhow!("this process drains")))
}

fn changed(changes: anyhow::Result<Vec<Change>>) -> Page {
    match changes {
        Ok(changes) => json(&serde_json::json!({ "changes": changes })),
        Err(error) => refused(&error),
    }
}

fn refused(error: &anyhow::Error) -> Page {
    text(StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}\n"))
}

async fn swap(odin: &Odin, name: &str, request: Request<Incoming>) -> Page {
    if !odin.assembly().plugins.contains_key(name) {
        return text(StatusCode::NOT_FOUND, format!("no plugin is named {name:?}; GET /plugins lists them\n"));
    }
    let body = Limited::new(request.into_body(), MAX_PLUGIN).collect();
    let wasm = match tokio::time::timeout(BODY, body).await {
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, format!("the plugin has not arrived within {BODY:?}\n")),
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return text(StatusCode::BAD_REQUEST, format!("cannot read the plugin: {error}\n")),
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
