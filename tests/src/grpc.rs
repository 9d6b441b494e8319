//! grpcio's own server and client from `tests/grpc`, run by the python that `tests/grpc/setup.sh` has found.
//!
//! Real peers, because a likeness of gRPC written here would share our reading of it. Neither outlives the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::output::Lines;
use crate::wait::within;
use crate::{Target, paths};

fn folder() -> PathBuf {
    paths::workspace().join("tests/grpc")
}

/// Runs a program of `tests/grpc`.
fn python(program: &str) -> Command {
    let python = match std::fs::read_to_string(folder().join(".python")) {
        Ok(path) => path.trim_end().to_string(),
        Err(_) => panic!("no python with grpcio is set up: run `make grpc`"),
    };
    let mut command = Command::new(python);
    command.arg(folder().join(program)).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The server of `tests/grpc/server.py`.
pub struct GrpcServer {
    address: SocketAddr,
    /// What it says after its port: `ended NAME` for a call that was ended from outside.
    pub stdout: Lines,
    stderr: Lines,
    _child: Child,
}

impl GrpcServer {
    /// Starts it and waits until it listens.
    pub async fn start() -> GrpcServer {
        let mut child = python("server.py").stdin(Stdio::piped()).spawn().expect("python starts");
        let stdout = Lines::collect(child.stdout.take().expect("standard output is a pipe"));
        let stderr = Lines::collect(child.stderr.take().expect("standard error is a pipe"));
        let port = match stdout.find_from(0, |_| true).await {
            Some(line) => line.parse().unwrap_or_else(|_| panic!("a port: {line:?}")),
            None => panic!("server.py did not start; it said:\n{}", stderr.all().join("\n")),
        };
        GrpcServer { address: (Ipv4Addr::LOCALHOST, port).into(), stdout, stderr, _child: child }
    }
}

impl Target for GrpcServer {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gRPC server's log ---\n{}\n------------------", self.stderr.all().join("\n"));
        }
    }
}

/// Runs a scenario of `tests/grpc/client.py` and answers what it saw; fails when that is not as it must be.
pub async fn grpc_client(address: SocketAddr, scenario: &str) -> Value {
    let mut command = python("client.py");
    command.arg(address.to_string()).arg(scenario).stdin(Stdio::null());
    let what = format!("client.py {address} {scenario} ends");
    let output = within(&what, command.output()).await.expect("python starts");
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let seen: Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{scenario}: {error} in:\n{said}\n{log}"));
    assert!(output.status.success(), "{scenario}: {:#}\n{log}\nIt saw: {said}", seen["wrong"]);
    seen
}
