//! `odin steer status`: what is steered where, as a table, since `ss` cannot show it.
//! Must never fail for a key that is not there: the running Odin may be another version.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;

use super::print;
use crate::client;

/// What /listeners tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    steering: Steering,
    listeners: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Steering {
    mode: String,
    /// Why it is not the other mode.
    reason: Option<String>,
    program: Option<Program>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Program {
    runs: u64,
    nanos: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listener {
    name: String,
    protocol: String,
    bindings: Vec<Binding>,
    accepted: u64,
    open: u64,
    refused: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Binding {
    address: String,
    by: String,
    serving: bool,
    reason: Option<String>,
    steered: Option<u64>,
    dropped: Option<u64>,
    weights: Vec<Weight>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Weight {
    listener: String,
    weight: u64,
}

/// Prints the table, or with `raw` what Odin answers.
pub(crate) async fn steer_status(socket: Option<PathBuf>, raw: bool) -> anyhow::Result<()> {
    let answer = client::good(client::get(&client::socket(socket).await?, "/listeners").await?)?;
    if raw {
        return print(&answer);
    }
    let status = serde_json::from_str(&answer);
    let status = status.context("the answer to /listeners was not understood")?;
    print(&render(&status))
}

fn render(status: &Status) -> String {
    let mut text = format!("steering: {}\n", steering(&status.steering));
    let mut addresses = vec![["LISTENER", "ADDRESS", "BY", "STEERED", "DROPPED", "NOTE"].map(str::to_owned)];
    let titles = ["LISTENER", "PROTOCOL", "ACCEPTED", "OPEN", "REFUSED"];
    let mut listeners = vec![titles.map(str::to_owned)];
    for listener in &status.listeners {
        let Listener { name, protocol, accepted, open, refused, .. } = listener;
        let count = u64::to_string;
        listeners.push([name.clone(), protocol.clone(), count(accepted), count(open), count(refused)]);
        for binding in &listener.bindings {
            let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            addresses.push([
                name.clone(),
                binding.address.clone(),
                binding.by.clone(),
                count(binding.steered),
                count(binding.dropped),
                note(name, binding),
            ]);
        }
    }
    text.push('\n');
    table(&mut text, &listeners, 2..5);
    text.push('\n');
    table(&mut text, &addresses, 3..5);
    text
}

fn steering(Steering { mode, reason, program }: &Steering) -> String {
    let mut text = mode.clone();
    if let Some(reason) = reason {
        text += &format!(" ({reason})");
    }
    if let Some(Program { runs, nanos }) = program {
        text += &format!(", {runs} connections steered");
        if let Some(each) = nanos.checked_div(*runs).filter(|each| *each > 0) {
            text += &format!(" in {each} ns each");
        }
    }
    text
}

/// Why nothing arrives, or who shares what arrives.
fn note(listener: &str, binding: &Binding) -> String {
    let reason = binding.reason.as_deref();
    if !binding.serving {
        return format!("not served{}", reason.map(|reason| format!(": {reason}")).unwrap_or_default());
    }
    let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
    for Weight { listener, weight } in &binding.weights {
        *shares.entry(listener).or_default() += weight;
    }
    shares.retain(|_, weight| *weight > 0);
    let all: u64 = shares.values().sum();
    if all == 0 || shares.keys().all(|name| *name == listener) {
        return reason.unwrap_or_default().to_owned();
    }
    let share = |(name, weight): (&&str, &u64)| format!("{name} {:.4}", *weight as f64 * 100.0 / all as f64);
    let shares: Vec<String> = shares
        .iter()
        .map(share)
        .map(|share| format!("{} %", share.trim_end_matches('0').trim_end_matches('.')))
        .collect();
    shares.join(", ")
}

/// Columns as wide as what is in them; numbers to the right.
fn table<const N: usize>(text: &mut String, rows: &[[String; N]], numbers: std::ops::Range<usize>) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a text does not fail.
            let _ = match numbers.contains(&column) {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(json: serde_json::Value) -> String {
        render(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn every_address_has_its_line_with_who_shares_it() {
        let weights = json!([
            { "listener": "web", "worker": 0, "weight": 190 },
            { "listener": "web", "worker": 1, "weight": 190 },
            { "listener": "canary", "worker": 0, "weight": 20 },
        ]);
        let text = rendered(json!({
            "steering": { "mode": "bpf", "reason": null, "program": { "runs": 1200, "nanos": 360_000 } },
            "listeners": [
                { "name": "web", "protocol": "http", "accepted": 1200, "open": 3, "refused": 0, "bindings": [
                    { "address": "0.0.0.0:80", "by": "bpf", "serving": true, "reason": null, "steered": 1150,
                      "dropped": 0, "weights": weights },
                    { "address": "192.0.2.0/24:80", "by": "bpf", "serving": true, "reason": null, "steered": 50,
                      "dropped": 2, "weights": [{ "listener": "web", "worker": 0, "weight": 1 }] },
                ] },
                { "name": "db", "protocol": "tcp", "accepted": 0, "open": 0, "refused": 0, "bindings": [
                    { "address": "127.0.0.1:7000-7009", "by": "bind", "serving": false, "reason": "port 7003 is taken",
                      "steered": null, "dropped": null, "weights": [] },
                ] },
            ],
        }));
        let expected = "\
steering: bpf, 1200 connections steered in 300 ns each

LISTENER  PROTOCOL  ACCEPTED  OPEN  REFUSED
web       http          1200     3        0
db        tcp              0     0        0

LISTENER  ADDRESS              BY    STEERED  DROPPED  NOTE
web       0.0.0.0:80           bpf      1150        0  canary 5 %, web 95 %
web       192.0.2.0/24:80      bpf        50        2
db        127.0.0.1:7000-7009  bind        -        -  not served: port 7003 is taken
";
        assert_eq!(text, expected);
    }

    #[test]
    fn bind_says_why_and_what_is_not_known_is_left_out() {
        let text = rendered(json!({ "steering": { "mode": "bind", "reason": "CAP_BPF is missing" }, "new": 1 }));
        assert!(text.starts_with("steering: bind (CAP_BPF is missing)\n"), "{text}");
    }
}
