//! A running Odin: where it listens, what it logs, what it measures, and the requests that a test sends to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::Request;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::assert::Response;
use crate::backend::Protocol;
use crate::body::{self, Body};
use crate::builder::Builder;
use crate::client::{Connection, get};
use crate::metrics::Metrics;
use crate::output::Lines;
use crate::process;
use crate::program::{Finished, Program};
use crate::raw::Raw;
use crate::steered::Steering;
use crate::succession::Successors;
use crate::wait::{until, within};

/// Odin, started and ready.
pub struct Odin {
    program: Program,
    folder: TempDir,
    config: PathBuf,
    listeners: Vec<Listening>,
    admin: Option<SocketAddr>,
    admin_socket: Option<PathBuf>,
    successors: Successors,
}

/// One of the start lines.
#[derive(Debug, Clone)]
pub struct Listening {
    /// `http` or `tcp`.
    pub scheme: String,
    /// Where.
    pub address: SocketAddr,
    /// The name of the listener.
    pub name: String,
}

impl Odin {
    /// Says what Odin is to be started with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts Odin with a command line of the test's own and waits until it is ready.
    pub async fn command(arguments: &[&str]) -> Odin {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("none");
        Odin::ready(Program::spawn(arguments), folder, config).await
    }

    pub(crate) async fn ready(program: Program, folder: TempDir, config: PathBuf) -> Odin {
        if program.stderr.find_from(0, |line| line == "odin: ready").await.is_none() {
            panic!("odin did not become ready; it said:\n{}", program.said());
        }
        let (mut listeners, mut admin, mut admin_socket) = (Vec::new(), None, None);
        for line in program.stderr.all() {
            if let Some(rest) = line.strip_prefix("odin: listening on ") {
                listeners.extend(Listening::parse(rest).unwrap_or_else(|| panic!("a start line: {line:?}")));
            }
            if let Some((_, rest)) = line.strip_prefix("odin: admin on ").and_then(|line| line.split_once("://")) {
                admin = Some(rest.parse().unwrap_or_else(|_| panic!("a start line: {line:?}")));
            }
            admin_socket = line.strip_prefix("odin: admin socket ").map(PathBuf::from).or(admin_socket);
        }
        Odin { program, folder, config, listeners, admin, admin_socket, successors: Successors::default() }
    }

    /// The address of the listener with this name.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|listening| listening.name == name);
        found.unwrap_or_else(|| panic!("no listener {name} in {:?}", self.listeners)).address
    }

    /// Where a listener is by now whose address the system has chosen: `/listeners` tells.
    pub async fn listed(&self, name: &str) -> SocketAddr {
        let all = self.steering().await;
        let listener = all.listener(name);
        let address = listener["bindings"][0]["address"].as_str().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {listener}"))
    }

    /// All listeners with a single address, as the start lines name them.
    pub fn listeners(&self) -> &[Listening] {
        &self.listeners
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("the admin listener is on")
    }

    /// The path of the admin socket.
    pub fn admin_socket(&self) -> &Path {
        self.admin_socket.as_deref().expect("the admin socket is on")
    }

    /// A connection to the admin socket, which takes orders.
    pub async fn connect_admin(&self) -> Connection {
        Connection::unix(self.admin_socket()).await
    }

    /// Runs the binary with this command, for this Odin: `["reload"]`.
    pub async fn run(&self, command: &[&str]) -> Finished {
        let socket = self.admin_socket().display().to_string();
        Program::spawn(command.iter().copied().chain(["--socket", &socket])).finished().await
    }

    /// `GET path` at the listener `web`, on a connection of its own.
    pub async fn get(&self, path: &str) -> Response {
        self.request(get(path)).await
    }

    /// One request to the listener `web`, on a connection of its own.
    pub async fn request(&self, request: Request<Body>) -> Response {
        self.connect().await.send(request).await
    }

    /// `POST path` with this body.
    pub async fn post(&self, path: &str, content: impl Into<bytes::Bytes>) -> Response {
        self.request(Request::post(path).body(body::full(content)).expect("a request")).await
    }

    /// An HTTP/1.1 connection to the listener `web` that stays open.
    pub async fn connect(&self) -> Connection {
        Connection::http1(self.address("web")).await
    }

    /// An HTTP/2 connection to the listener `web`.
    pub async fn connect_http2(&self) -> Connection {
        Connection::http2(self.address("web")).await
    }

    /// A connection to the listener `web` that speaks this.
    pub async fn connect_over(&self, protocol: Protocol) -> Connection {
        match protocol {
            Protocol::Http1 => self.connect().await,
            Protocol::Http2 => self.connect_http2().await,
        }
    }

    /// A connection to the listener `web`, byte by byte.
    pub async fn connect_raw(&self) -> Raw {
        Raw::connect(self.address("web")).await
    }

    /// A connection to the listener `tcp`, byte by byte.
    pub async fn connect_tcp(&self) -> Raw {
        Raw::connect(self.address("tcp")).await
    }

    /// `GET path` at the admin listener.
    pub async fn admin(&self, path: &str) -> Response {
        Connection::http1(self.admin_address()).await.get(path).await
    }

    /// Whether `/readyz` answers 200; an admin listener that is gone is not ready.
    pub async fn is_ready(&self) -> bool {
        let Ok(stream) = tokio::net::TcpStream::connect(self.admin_address()).await else { return false };
        let mut raw = Raw::new(stream);
        raw.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        raw.response("GET").await.is_some_and(|response| response.head.status() == 200)
    }

    /// A scrape of `/metrics`, checked as a scraper would.
    pub async fn metrics(&self) -> Metrics {
        let text = self.admin("/metrics").await.has_status(200).text();
        Metrics::parse(&text).unwrap_or_else(|error| panic!("/metrics is not Prometheus text: {error}\n{text}"))
    }

    /// `POST path` at the admin socket, without a body.
    pub async fn post_admin(&self, path: &str) -> Response {
        self.order(Request::post(path).body(body::empty()).expect("a request")).await
    }

    /// One request to the admin socket, on a connection of its own.
    pub async fn order(&self, request: Request<Body>) -> Response {
        self.connect_admin().await.send(request).await
    }

    /// Writes the config file and reloads; answers what `/reload` says, whether that was refused or not. The file is
    /// watched as well: when that was quicker, there is nothing left to change.
    pub async fn reload(&self, config: &str) -> Response {
        self.replace_config(config);
        self.post_admin("/reload").await
    }

    /// Writes the config file, which is watched. At once: a half of it would be refused.
    pub fn replace_config(&self, config: &str) {
        let new = self.config.with_extension("new");
        std::fs::write(&new, config).expect("a file is written");
        std::fs::rename(new, &self.config).expect("a file is replaced");
    }

    /// Sends a plugin to the admin socket.
    pub async fn post_plugin(&self, name: &str, wasm: impl Into<bytes::Bytes>) -> Response {
        self.order(Request::post(format!("/plugins/{name}")).body(body::full(wasm)).expect("a request")).await
    }

    /// The file of the plugin with this name.
    pub fn plugin_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.wasm"))
    }

    /// The folder of the config and the plugins.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The config file.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// Odin's own log.
    pub fn log(&self) -> &Lines {
        &self.program.stderr
    }

    /// The access log.
    pub fn access_log(&self) -> &Lines {
        &self.program.stdout
    }

    /// Waits for a line in Odin's log that contains all of these words, and answers it.
    pub async fn log_contains(&self, words: &[&str]) -> String {
        self.log_contains_after(0, words).await
    }

    /// As [`Odin::log_contains`], in the lines from number `from` on.
    pub async fn log_contains_after(&self, from: usize, words: &[&str]) -> String {
        let wanted = |line: &str| words.iter().all(|word| line.contains(word));
        match self.program.stderr.find_from(from, wanted).await {
            Some(line) => line,
            None => panic!("no line with {words:?} in the log"),
        }
    }

    /// Waits for a line in the access log that contains all of these words, and answers it.
    pub async fn access_log_contains(&self, words: &[&str]) -> String {
        let wanted = |line: &str| words.iter().all(|word| line.contains(word));
        match self.program.stdout.find_from(0, wanted).await {
            Some(line) => line,
            None => panic!("no line with {words:?} in the access log: {:#?}", self.program.stdout.all()),
        }
    }

    /// Waits for the line about this path in an access log in JSON: see [`Builder::logging`].
    pub async fn logged(&self, path: &str) -> Value {
        let line = self.access_log_contains(&[&format!("\"path\":\"{path}\"")]).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not a line of JSON ({error}): {line}"))
    }

    /// What the plugins of the exchange with this path have left in the context value `trace`, word by word.
    pub async fn trace(&self, path: &str) -> Vec<String> {
        let logged = self.logged(path).await;
        let trace = logged["context"]["trace"].as_str().unwrap_or_else(|| panic!("no trace in {logged}"));
        trace.split(' ').map(str::to_string).collect()
    }

    /// What `/plugins` says about this one.
    pub async fn plugin_status(&self, name: &str) -> Value {
        let all = self.admin("/plugins").await.has_status(200).json();
        let named = |all: &Value| all.as_array()?.iter().find(|plugin| plugin["name"] == name).cloned();
        named(&all).unwrap_or_else(|| panic!("no plugin {name} in {all}"))
    }

    /// What `/listeners` says.
    pub async fn steering(&self) -> Steering {
        Steering(self.admin("/listeners").await.has_status(200).json())
    }

    /// The id of the process that serves.
    pub fn pid(&self) -> u32 {
        self.successors.last().unwrap_or(self.program.pid())
    }

    /// The resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        process::resident_bytes(self.pid())
    }

    /// The most that was resident since the start, or since [`Odin::forget_peak`], in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        process::peak_resident_bytes(self.pid())
    }

    /// Lets the peak begin anew.
    pub fn forget_peak(&self) {
        process::forget_peak(self.pid());
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        process::signal(self.pid(), Signal::HUP);
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        process::signal(self.pid(), Signal::TERM);
    }

    /// Sends SIGINT, as Ctrl-C does, and does not wait.
    pub fn interrupt(&self) {
        process::signal(self.pid(), Signal::INT);
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(self) -> Finished {
        process::signal(self.pid(), Signal::KILL);
        self.finished().await
    }

    /// Stops the whole process where it is; connections wait in its sockets' queues until [`Odin::thaw`].
    pub async fn freeze(&self) {
        process::signal(self.pid(), Signal::STOP);
        let stopped = || process::threads(self.pid()).iter().all(|thread| thread.stopped);
        until("every thread stands still", async || stopped().then_some(())).await;
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        process::signal(self.pid(), Signal::CONT);
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        match self.successors.last() {
            Some(pid) => process::is_running(pid),
            None => self.program.is_running(),
        }
    }

    /// The processes that took over.
    pub(crate) fn successors(&self) -> &Successors {
        &self.successors
    }

    /// The first of the processes that serve one after the other.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Waits until Odin has ended.
    pub async fn finished(self) -> Finished {
        self.program.finished().await
    }

    /// Sends SIGTERM; Odin must drain and exit with 0.
    pub async fn stop(self) -> Finished {
        self.terminate();
        let finished = within("odin drains and exits", self.finished()).await;
        assert!(finished.success(), "{finished:?}");
        finished
    }
}

impl Odin {
    /// Waits until no endpoint has an exchange or a connection any more: whatever became of them, they were given back.
    pub async fn no_exchange_is_left(&self) {
        until("no exchange is left", async || {
            (self.metrics().await.sum("odin_endpoint_active", &[]) == 0.0).then_some(())
        })
        .await;
    }

    /// As [`Odin::stop`]; fails when the access log tells of any exchange that it failed.
    pub async fn ends_without_errors(self) {
        let said = self.stop().await.stdout;
        for line in said.lines() {
            assert!(!line.contains("error"), "an exchange that the client got whole: {line}");
        }
    }
}

impl Listening {
    /// Reads `http://127.0.0.1:40123 (web)`; none inside when that is more than one address.
    fn parse(text: &str) -> Option<Option<Listening>> {
        let (scheme, rest) = text.split_once("://")?;
        let (address, name) = rest.split_once(' ')?;
        let name = name.strip_prefix('(')?.strip_suffix(')')?;
        let Ok(address) = address.parse() else { return address.contains(['-', '*', '/']).then_some(None) };
        Some(Some(Listening { scheme: scheme.to_string(), address, name: name.to_string() }))
    }
}
