//! `odin plugin swap NAME FILE`: another plugin in the place of one that serves.
//! Must never judge the file: the running Odin loads it, and says what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::print;
use crate::admin::MAX_PLUGIN;
use crate::{client, files};

/// Sends the file to the running Odin and prints which generation serves.
pub(crate) async fn swap(name: &str, file: &Path, socket: Option<PathBuf>) -> anyhow::Result<()> {
    let wasm = files::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let most = MAX_PLUGIN >> 20;
    ensure!(wasm.len() <= MAX_PLUGIN, "{} has more than {most} MiB, the most that Odin takes", file.display());
    print(&swapped(name, wasm, &client::socket(socket).await?).await?)
}

async fn swapped(name: &str, wasm: Vec<u8>, socket: &Path) -> anyhow::Result<String> {
    let answer = client::good(client::post(socket, &format!("/plugins/{name}"), wasm.into()).await?)?;
    let answer: Value = serde_json::from_str(&answer).context("the answer is no JSON; is this Odin?")?;
    let generation = answer["generation"].as_u64().context("the answer names no `generation`")?;
    Ok(match answer["swapped"].as_bool() {
        Some(false) => format!("odin: {name} is this file already (generation {generation})\n"),
        _ => format!("odin: {name} swapped: generation {generation} serves\n"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::client::tests::answering;

    #[tokio::test]
    async fn a_swap_tells_what_serves_or_why_not() {
        let swapped = async |status, body| swapped("lb", Vec::new(), &answering(status, body)).await;
        let line = "odin: lb swapped: generation 2 serves\n";
        assert_eq!(swapped(200, "{ \"generation\": 2, \"swapped\": true }").await.unwrap(), line);
        let line = "odin: lb is this file already (generation 1)\n";
        assert_eq!(swapped(200, "{ \"generation\": 1, \"swapped\": false }").await.unwrap(), line);
        let error = swapped(422, "not swapped: why\n").await.unwrap_err().to_string();
        assert_eq!(error, "not swapped: why");
    }
}
