//! Asks a running Odin by its admin listener. Must never try again by itself: a person is waiting for the answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);
/// A page is made at once.
const GET: Duration = Duration::from_secs(30);
/// An upgrade waits until the new process is ready.
const POST: Duration = Duration::from_secs(300);
/// A config of 60,000 addresses fits.
const MAX_ANSWER: usize = 256 << 20;

/// The page at a path.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    ask(admin, Method::GET, path, GET).await
}

/// What is answered to an order.
pub(crate) async fn post(admin: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    ask(admin, Method::POST, path, POST).await
}

/// The body of an answer that is good; of any other, an error that says what was answered.
pub(crate) fn good((status, body): (StatusCode, String)) -> anyhow::Result<String> {
    match (status.is_success(), body.trim()) {
        (true, _) => Ok(body),
        (false, "") => bail!("Odin answers {status}"),
        (false, message) => bail!("{message}"),
    }
}

async fn ask(admin: SocketAddr, method: Method, path: &str, limit: Duration) -> anyhow::Result<(StatusCode, String)> {
    let place = format!("Odin's admin listener on {admin}");
    let connected = timeout(CONNECT, TcpStream::connect(admin)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => bail!("cannot reach {place}: {error}; is it running, and is `admin` on?"),
        Err(_) => bail!("cannot reach {place}: no answer in {CONNECT:?}; is it the right address?"),
    };
    match timeout(limit, exchange(stream, admin, method, path)).await {
        Ok(answer) => answer.with_context(|| format!("no answer of {place} to {path}")),
        Err(_) => Err(anyhow!("no answer of {place} to {path} in {limit:?}")),
    }
}

async fn exchange(
    stream: TcpStream,
    admin: SocketAddr,
    method: Method,
    path: &str,
) -> anyhow::Result<(StatusCode, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange; what ends it early is told by the exchange.
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, admin.to_string());
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!("{error}"))?;
    driver.abort();
    let text = String::from_utf8(body.to_bytes().into()).context("the answer is no text; is this Odin?")?;
    Ok((status, text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// Answers one connection with these bytes and hangs up; tells what was asked.
    async fn server(answer: String) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (admin, server)
    }

    /// An admin listener that gives one answer, with this status and body.
    pub(crate) async fn answering(status: u16, body: &str) -> SocketAddr {
        server(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await.0
    }

    async fn asked(answer: &str, method: Method) -> (anyhow::Result<(StatusCode, String)>, String) {
        let (admin, server) = server(answer.to_owned()).await;
        let answer = if method == Method::POST { post(admin, "/upgrade").await } else { get(admin, "/config").await };
        (answer, server.await.unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_its_status_and_its_text() {
        let (answer, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Method::GET).await;
        assert_eq!(good(answer.unwrap()).unwrap(), "ok");
        assert!(request.starts_with("GET /config HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
        let refused = "HTTP/1.1 409 Conflict\r\ncontent-length: 8\r\n\r\nnot now\n";
        let (answer, request) = asked(refused, Method::POST).await;
        assert_eq!(good(answer.unwrap()).unwrap_err().to_string(), "not now");
        assert!(request.starts_with("POST /upgrade HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        drop(listener);
        let error = get(admin, "/config").await.unwrap_err().to_string();
        let expected = format!(
            "cannot reach Odin's admin listener on {admin}: Connection refused (os error 111); is it running, and is \
             `admin` on?"
        );
        assert_eq!(error, expected);
        let (answer, _) = asked("", Method::GET).await;
        let error = format!("{:#}", answer.unwrap_err());
        assert!(error.starts_with("no answer of Odin's admin listener on 127.0.0.1:"), "{error}");
    }
}
