//! The gRPC processor that Envoy's ext_proc filter asks in the benchmark: what Odin's plugin `digest` does, out of process.
//!
//! It is the peer in a comparison, so it must do no work that a good processor would not do: one thread, no copy of what
//! it reads, no task and no queue between a message and its answer.

mod exchange;
mod protocol;

use std::env;
use std::error::Error;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use exchange::Exchange;
use protocol::ProcessingRequest;
use protocol::external_processor_server::{ExternalProcessor, ExternalProcessorServer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Digest;

#[tonic::async_trait]
impl ExternalProcessor for Digest {
    type ProcessStream = Exchange;

    async fn process(&self, request: Request<Streaming<ProcessingRequest>>) -> Result<Response<Exchange>, Status> {
        Ok(Response::new(Exchange::new(request.into_inner())))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("usage: odin-bench-ext-proc SOCKET (the path of a Unix socket to make)")?;
    let listener = UnixListener::bind(&path).map_err(|why| format!("cannot listen on {}: {why}", path.display()))?;
    Server::builder()
        .serve_with_incoming(ExternalProcessorServer::new(Digest), UnixListenerStream::new(listener))
        .await?;
    Ok(())
}
