//! Asks a running Odin by its admin socket. Must never try again by itself: a person is waiting for the answer.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::runtime_folder;

const CONNECT: Duration = Duration::from_secs(5);
/// A page is made at once.
const GET: Duration = Duration::from_secs(30);
/// An upgrade waits until the new process is ready, and a swap until the plugin is compiled.
const POST: Duration = Duration::from_secs(300);
/// A config of 60,000 addresses fits.
const MAX_ANSWER: usize = 256 << 20;

/// The page at a path.
pub(crate) async fn get(socket: &Path, path: &str) -> anyhow::Result<(StatusCode, String)> {
    ask(socket, Method::GET, path, Bytes::new(), GET).await
}

/// What is answered to an order.
pub(crate) async fn post(socket: &Path, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, String)> {
    ask(socket, Method::POST, path, body, POST).await
}

/// The body of an answer that is good; of any other, an error that says what was answered.
pub(crate) fn good((status, body): (StatusCode, String)) -> anyhow::Result<String> {
    match (status.is_success(), body.trim()) {
        (true, _) => Ok(body),
        (false, "") => bail!("Odin answers {status}"),
        (false, message) => bail!("{message}"),
    }
}

/// The socket that was named, or that of the only Odin that runs here.
pub(crate) async fn socket(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named);
    }
    let found = runtime_folder::search();
    if let [only] = &found.live[..] {
        return Ok(only.clone());
    }
    if !found.live.is_empty() {
        let mut lines = String::new();
        for socket in &found.live {
            lines += &format!("\n  --socket {} ({})", socket.display(), described(socket).await);
        }
        bail!("several Odins run here; name one:{lines}");
    }
    if let Some(denied) = found.denied.first() {
        bail!("{} is the socket of another user's Odin; be that user, or root", denied.display());
    }
    let folders: Vec<String> = found.folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!(
        "no running Odin was found (looked for its socket in {}); name the socket that its start line tells with --socket",
        folders.join(", ")
    )
}

/// Which Odin listens there.
async fn described(socket: &Path) -> String {
    let page = get(socket, "/process").await.and_then(good);
    let page: Value = page.ok().and_then(|page| serde_json::from_str(&page).ok()).unwrap_or_default();
    let pid = page["pid"].as_u64().map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let config = page["config"].as_str().map_or_else(String::new, |config| format!(", -f {config}"));
    format!("process {pid}{config}")
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> anyhow::Result<(StatusCode, String)> {
    let place = format!("Odin's admin socket {}", socket.display());
    let stream = match timeout(CONNECT, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let help = match error.kind() {
                ErrorKind::PermissionDenied => "be the user that Odin runs as, or root",
                ErrorKind::NotFound => "is it the path that the start line tells?",
                _ => "is Odin running?",
            };
            bail!("cannot reach {place}: {error}; {help}")
        }
        Err(_) => bail!("cannot reach {place}: no answer in {CONNECT:?}"),
    };
    match timeout(limit, exchange(stream, method, path, body)).await {
        Ok(answer) => answer.with_context(|| format!("no answer of {place} to {path}")),
        Err(_) => Err(anyhow!("no answer of {place} to {path} in {limit:?}")),
    }
}

async fn exchange(stream: UnixStream, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange; what ends it early is told by the exchange.
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!("{error}"))?;
    driver.abort();
    let text = String::from_utf8(body.to_bytes().into()).context("the answer is no text; is this Odin?")?;
    Ok((status, text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::task::JoinHandle;

    use super::*;

    fn path() -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        std::env::temp_dir().join(format!("odin-client-{}-{number}.sock", std::process::id()))
    }

    /// Answers one connection with these bytes and hangs up; tells what was asked.
    fn server(answer: String) -> (PathBuf, JoinHandle<String>) {
        let path = path();
        let listener = UnixListener::bind(&path).unwrap();
        let bound = path.clone();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            std::fs::remove_file(bound).unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (path, server)
    }

    /// An admin socket that gives one answer, with this status and body.
    pub(crate) fn answering(status: u16, body: &str) -> PathBuf {
        server(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())).0
    }

    async fn asked(answer: &str, method: Method) -> (anyhow::Result<(StatusCode, String)>, String) {
        let (socket, server) = server(answer.to_owned());
        let answer = match method == Method::POST {
            true => post(&socket, "/upgrade", Bytes::from_static(b"body")).await,
            false => get(&socket, "/config").await,
        };
        (answer, server.await.unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_its_status_and_its_text() {
        let (answer, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Method::GET).await;
        assert_eq!(good(answer.unwrap()).unwrap(), "ok");
        assert!(request.starts_with("GET /config HTTP/1.1\r\nhost: localhost\r\n"), "{request}");
        let refused = "HTTP/1.1 409 Conflict\r\ncontent-length: 8\r\n\r\nnot now\n";
        let (answer, request) = asked(refused, Method::POST).await;
        assert_eq!(good(answer.unwrap()).unwrap_err().to_string(), "not now");
        assert!(request.starts_with("POST /upgrade HTTP/1.1\r\n") && request.ends_with("body"), "{request}");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told() {
        let missing = path();
        let error = get(&missing, "/config").await.unwrap_err().to_string();
        let expected = format!(
            "cannot reach Odin's admin socket {}: No such file or directory (os error 2); is it the path that the start \
             line tells?",
            missing.display()
        );
        assert_eq!(error, expected);
        let (answer, _) = asked("", Method::GET).await;
        let error = format!("{:#}", answer.unwrap_err());
        assert!(error.starts_with("no answer of Odin's admin socket /"), "{error}");
    }
}
