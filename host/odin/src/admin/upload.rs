//! Plugins that are sent to be swapped in: how large one may be, how many there are at once, and how long one may take.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The largest plugin that may be sent, in bytes.
pub(crate) const MAX_PLUGIN: usize = 64 << 20;
/// Those that are held in memory at once, each until it was swapped in or refused. Others wait, unread.
const AT_ONCE: usize = 2;
/// How long one may take to arrive, the wait for its turn included.
const BODY: Duration = Duration::from_secs(30);

/// The bound on all uploads together.
pub(super) struct Uploads(Semaphore);

/// A plugin that has arrived, and its share of what may be held.
pub(super) struct Upload<'a> {
    pub(super) wasm: Vec<u8>,
    /// Let go of when it is held no more.
    pub(super) turn: SemaphorePermit<'a>,
}

impl Uploads {
    pub(super) fn new() -> Self {
        Uploads(Semaphore::new(AT_ONCE))
    }

    /// Receives a whole plugin; the error is what to answer.
    pub(super) async fn receive(&self, body: Incoming) -> Result<Upload<'_>, (StatusCode, String)> {
        let deadline = Instant::now() + BODY;
        let turn = match tokio::time::timeout_at(deadline, self.0.acquire()).await {
            Ok(Ok(turn)) => turn,
            _ => {
                let words = format!("{AT_ONCE} other plugins are still being received or compiled; try again\n");
                return Err((StatusCode::SERVICE_UNAVAILABLE, words));
            }
        };
        match tokio::time::timeout_at(deadline, collect(body)).await {
            Ok(Ok(wasm)) => Ok(Upload { wasm, turn }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, format!("the plugin has not arrived within {BODY:?}\n"))),
        }
    }
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, (StatusCode, String)> {
    let too_large = || {
        let words = format!("a plugin may have at most {} MiB\n", MAX_PLUGIN >> 20);
        (StatusCode::PAYLOAD_TOO_LARGE, words)
    };
    let announced = body.size_hint().exact().unwrap_or_default();
    let announced = usize::try_from(announced).ok().filter(|bytes| *bytes <= MAX_PLUGIN).ok_or_else(too_large)?;
    let mut wasm = Vec::new();
    // All of it, so that nothing is copied as it grows; what is not written yet takes no memory.
    wasm.try_reserve_exact(announced).map_err(|_| too_large())?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| (StatusCode::BAD_REQUEST, format!("cannot read the plugin: {error}\n")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if wasm.len() + piece.len() > MAX_PLUGIN {
            return Err(too_large());
        }
        wasm.extend_from_slice(&piece);
    }
    Ok(wasm)
}
