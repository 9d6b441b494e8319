//! `odin:plugin/log`: lines in Odin's own log, marked with the plugin's name.
//! Must never let a plugin forge a line, nor flood the log.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::{ComponentType, Lift, WasmStr};

use crate::stats::WorkerStats;
use crate::store::{Ctx, Link};

/// A message is cut to so many bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// `level` of wit/log.wit.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests construct it")]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    linker.instance("odin:plugin/log@0.1.0")?.func_wrap(
        "write",
        |store: Ctx<'_>, (level, message): (Level, WasmStr)| {
            let data = store.data();
            if enabled(level) {
                let most = data.slot.spec.limits.log_lines_per_second;
                match allowance(data.stats(), now(), most.into()) {
                    Allowance::Write => write(level, &data.slot.spec.name, &printable(&message.to_str(&store)?)),
                    Allowance::Last => {
                        let cut = format!("more than {most} lines in a second: the rest is dropped");
                        write(Level::Warn, &data.slot.spec.name, &cut);
                    }
                    Allowance::Drop => {}
                }
            }
            Ok(())
        },
    )
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

fn write(level: Level, plugin: &str, message: &str) {
    match level {
        Level::Debug => tracing::debug!(target: "plugin", plugin, "{message}"),
        Level::Info => tracing::info!(target: "plugin", plugin, "{message}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, "{message}"),
        Level::Error => tracing::error!(target: "plugin", plugin, "{message}"),
    }
}

#[derive(Debug, PartialEq)]
enum Allowance {
    Write,
    /// The first line too many: say so instead.
    Last,
    Drop,
}

/// At most so many lines a second on one worker.
fn allowance(stats: &WorkerStats, second: u64, most: u64) -> Allowance {
    if stats.log_second.get() != second {
        stats.log_second.set(second);
        stats.log_lines.set(0);
    }
    stats.log_lines.add(1);
    match stats.log_lines.get() {
        lines if lines <= most => Allowance::Write,
        lines if lines == most + 1 => Allowance::Last,
        _ => Allowance::Drop,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// One line: control characters and line separators escaped, cut at a character.
fn printable(message: &str) -> String {
    let cut = &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)];
    let mut line = String::with_capacity(cut.len());
    for character in cut.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            // Writing to a string does not fail.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    if cut.len() < message.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_one_line() {
        assert_eq!(printable("a\nb\u{1b}[31m\tc\u{2028}é"), "a\\nb\\u{1b}[31m\\tc\\u{2028}é");
        assert_eq!(printable(&"é".repeat(4096)).chars().count(), 2048 + 1);
    }

    #[test]
    fn a_flood_is_cut_and_begins_anew_each_second() {
        let stats = WorkerStats::default();
        for _ in 0..3 {
            assert_eq!(allowance(&stats, 7, 3), Allowance::Write);
        }
        assert_eq!(allowance(&stats, 7, 3), Allowance::Last);
        assert_eq!(allowance(&stats, 7, 3), Allowance::Drop);
        assert_eq!(allowance(&stats, 8, 3), Allowance::Write);
    }
}
