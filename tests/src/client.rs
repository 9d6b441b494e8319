//! HTTP connections to Odin by hyper: one connection, many requests. Never retries, never opens a second connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::assert::Response;
use crate::backend::Protocol;
use crate::body::{self, Body};
use crate::wait::within;

/// A client connection that stays open from request to request.
pub struct Connection {
    sender: Sender,
    address: SocketAddr,
    task: JoinHandle<hyper::Result<()>>,
    /// Whether a response may take longer than the deadline of one step.
    patient: bool,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// Connects for HTTP/1.1.
    pub async fn http1(address: SocketAddr) -> Connection {
        Connection::try_connect(Protocol::Http1, address).await.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Connects for HTTP/2 with prior knowledge.
    pub async fn http2(address: SocketAddr) -> Connection {
        Connection::try_connect(Protocol::Http2, address).await.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Connects for this protocol; the error says what a client would see.
    pub async fn try_connect(protocol: Protocol, address: SocketAddr) -> Result<Connection, String> {
        let stream =
            within("connect", TcpStream::connect(address)).await.map_err(|error| format!("connect: {error}"))?;
        Connection::over(protocol, stream, address).await.map_err(|error| format!("hello: {error:?}"))
    }

    /// Connects to a unix socket for HTTP/1.1.
    pub async fn unix(path: &Path) -> Connection {
        let shown = path.display();
        let stream = within("connect", UnixStream::connect(path)).await;
        let stream = stream.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Connection::over(Protocol::Http1, stream, localhost).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// Speaks this over a connection.
    async fn over<S>(protocol: Protocol, stream: S, address: SocketAddr) -> hyper::Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, task) = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                let task = tokio::spawn(connection.with_upgrades());
                (Sender::Http1(sender), task)
            }
            Protocol::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), io);
                let (sender, connection) = within("HTTP/2 handshake", handshake).await?;
                (Sender::Http2(sender), tokio::spawn(connection))
            }
        };
        Ok(Connection { sender, address, task, patient: false })
    }

    /// Lets responses take as long as the test may: for bodies of a GiB.
    pub fn patient(&mut self) -> &mut Connection {
        self.patient = true;
        self
    }

    /// Sends a request whose URI is a path, and waits for the head of the response.
    pub async fn try_start(&mut self, request: Request<Body>) -> hyper::Result<http::Response<Incoming>> {
        let (mut head, body) = request.into_parts();
        match &mut self.sender {
            Sender::Http1(sender) => {
                if !head.headers.contains_key("host") {
                    let host = self.address.to_string().parse().expect("an address is a host");
                    head.headers.insert("host", host);
                }
                within("ready", sender.ready()).await?;
                let response = sender.send_request(Request::from_parts(head, body));
                if self.patient { response.await } else { within("response", response).await }
            }
            Sender::Http2(sender) => {
                if head.uri.authority().is_none() {
                    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
                    let host = head.headers.remove("host");
                    let host = host.map_or(self.address.to_string(), |host| host.to_str().unwrap().to_string());
                    head.uri = format!("http://{host}{path}").parse().expect("a path makes a URI");
                }
                head.version = Version::HTTP_2;
                within("ready", sender.ready()).await?;
                let response = sender.send_request(Request::from_parts(head, body));
                if self.patient { response.await } else { within("response", response).await }
            }
        }
    }

    /// Sends a request over HTTP/2 and answers the future of its whole response: other streams may begin meanwhile.
    pub async fn begin(&mut self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        let Sender::Http2(sender) = &mut self.sender else { panic!("only HTTP/2 has streams") };
        within("ready", sender.ready()).await.expect("the connection is up");
        let (mut head, body) = request.into_parts();
        head.uri = format!("http://{}{}", self.address, head.uri).parse().expect("a path makes a URI");
        let response = sender.send_request(Request::from_parts(head, body));
        async move { collect(response.await.expect("a response")).await.expect("a whole response") }
    }

    /// As [`Connection::try_start`]; a failure fails the test.
    pub async fn start(&mut self, request: Request<Body>) -> http::Response<Incoming> {
        let what = format!("{} {}", request.method(), request.uri());
        self.try_start(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Sends a request and waits for the whole response.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Response> {
        collect(self.try_start(request).await?).await
    }

    /// As [`Connection::try_send`]; a failure fails the test.
    pub async fn send(&mut self, request: Request<Body>) -> Response {
        let what = format!("{} {}", request.method(), request.uri());
        self.try_send(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// `GET path`.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(get(path)).await
    }

    /// Waits until this connection has ended, from whichever side.
    pub async fn closed(&mut self) {
        let _ = self.end().await;
    }

    /// As [`Connection::closed`]; the error says how it broke.
    pub(crate) async fn end(&mut self) -> hyper::Result<()> {
        within("the connection ends", &mut self.task).await.expect("its task does not panic")
    }
}

/// A `GET` without a body.
pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(body::empty()).expect("the path is a path")
}

/// Reads a response to its end.
pub async fn collect(response: http::Response<Incoming>) -> hyper::Result<Response> {
    let (head, body) = response.into_parts();
    let collected = within("the whole body", body.collect()).await?;
    let trailers = collected.trailers().cloned();
    let body: Bytes = collected.to_bytes();
    Ok(Response { status: head.status, version: head.version, headers: head.headers, body, trailers })
}
