//! HTTP/2 load by h2load, prior knowledge, one thread, a fixed number of requests.
//!
//! Its own summary has no percentiles: they come from its log of single requests.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Done, FIELDS};
use crate::stats::percentile;

/// What h2load is asked for.
pub(crate) struct H2load {
    pub(crate) port: u16,
    pub(crate) requests: u64,
    pub(crate) connections: usize,
    /// Streams at a time on each connection.
    pub(crate) streams: usize,
}

impl H2load {
    pub(crate) fn run(&self, dir: &Path) -> Result<Done> {
        let log = dir.join("h2load.log");
        // It appends.
        let _ = fs::remove_file(&log);
        let mut command = Command::new("h2load");
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-m{}", self.streams)]);
        command.args([&format!("-n{}", self.requests), "-p", "h2c", "--log-file"]).arg(&log);
        for field in FIELDS {
            command.args(["-H", field]);
        }
        command.arg(format!("http://127.0.0.1:{}/bench", self.port));
        let output = command.output().context("cannot run h2load: `apt-get install nghttp2-client`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let wrong = || format!("h2load failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));

        if !text.contains(&format!(" {} 2xx, 0 3xx, 0 4xx, 0 5xx", self.requests)) {
            bail!(wrong());
        }
        let seconds = text.lines().find_map(|line| duration(line.strip_prefix("finished in ")?)).with_context(wrong)?;
        let mut latencies: Vec<u64> = fs::read_to_string(&log)
            .with_context(|| format!("cannot read {}", log.display()))?
            .lines()
            .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
            .collect();
        Ok(Done {
            operations: self.requests,
            seconds,
            p50: percentile(&mut latencies, 0.5).map(|micros| micros as f64),
            p99: percentile(&mut latencies, 0.99).map(|micros| micros as f64),
            grown: None,
        })
    }
}

/// `2.50s, 39942.03 req/s, …` or `812.11ms, …`, in seconds.
fn duration(text: &str) -> Option<f64> {
    let word = text.split(',').next()?.trim();
    if let Some(millis) = word.strip_suffix("ms") {
        return Some(millis.parse::<f64>().ok()? / 1e3);
    }
    if let Some(micros) = word.strip_suffix("us") {
        return Some(micros.parse::<f64>().ok()? / 1e6);
    }
    word.strip_suffix('s')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn h2load_writes_times_in_the_unit_that_fits() {
        assert_eq!(duration("2.50s, 39942.03 req/s, 50MB/s"), Some(2.5));
        assert_eq!(duration("812ms, 1 req/s"), Some(0.812));
        assert_eq!(duration("9us, 1 req/s"), Some(0.000_009));
        assert_eq!(duration("soon"), None);
    }
}
