//! What a plugin says, in whatever way: an error, a reason, a panic, a line for the log. It is made one line of at most
//! 1 KiB, and it is counted: past `log-rate` lines a second it is left out.
//! Must never let a plugin forge a line of a log, nor flood one.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::stats::WorkerStats;

/// What a plugin says at once is cut to so many bytes.
const MAX_BYTES: usize = 1 << 10;

/// The beginning of `text` that is told, and what stands behind it when that is not all.
pub(crate) fn cut(text: &str) -> (&str, String) {
    if text.len() <= MAX_BYTES {
        return (text, String::new());
    }
    let told = &text[..text.floor_char_boundary(MAX_BYTES)];
    (told, format!("… (cut: {} of {} bytes)", told.len(), text.len()))
}

/// One line: white space is made one space, control characters are escaped.
pub(crate) fn one_line(text: &str) -> String {
    let (told, rest) = cut(text);
    let words: Vec<Cow<'_, str>> = told.split_whitespace().map(printable).collect();
    words.join(" ") + &rest
}

/// With control characters and line separators escaped.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let odd = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    if !text.contains(odd) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if odd(character) {
            // Writing to a string does not fail.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.into()
}

/// Whether a plugin may say one thing more in this second.
#[derive(Debug, PartialEq)]
pub(crate) enum Allowance {
    Say,
    /// The first that is too much: the log says so instead.
    Last,
    Drop,
}

impl Allowance {
    /// Counts one thing said on this worker, of at most `most` a second.
    pub(crate) fn of(stats: &WorkerStats, most: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(stats, now.as_secs(), most)
    }

    fn at(stats: &WorkerStats, second: u64, most: u32) -> Self {
        if stats.log_second.get() != second {
            stats.log_second.set(second);
            stats.log_lines.set(0);
        }
        stats.log_lines.add(1);
        let most = u64::from(most);
        match stats.log_lines.get() {
            lines if lines <= most => Allowance::Say,
            lines if lines == most + 1 => Allowance::Last,
            _ => Allowance::Drop,
        }
    }
}

/// Whether a plugin may say one thing more; tells the log once a second when it may not.
pub(crate) fn may_say(stats: &WorkerStats, most: u32, plugin: &str) -> bool {
    let allowance = Allowance::of(stats, most);
    if allowance == Allowance::Last {
        tracing::warn!(target: "plugin", plugin, "{}", too_much(most));
    }
    allowance == Allowance::Say
}

/// What stands in place of words that are left out.
pub(crate) fn too_much(most: u32) -> String {
    format!("more than {most} lines in a second: the rest is dropped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m \tc\u{2028}é"), "a b\\u{1b}[31m c é");
        assert_eq!(printable("a\nb\u{1b}[31m\tc\u{2028}é"), "a\\nb\\u{1b}[31m\\tc\\u{2028}é");
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character_and_says_so() {
        let long = format!("x{}", "é".repeat(450_000));
        assert_eq!(one_line(&long), format!("x{}… (cut: 1023 of 900001 bytes)", "é".repeat(511)));
        assert_eq!(one_line(&"x".repeat(1024)), "x".repeat(1024));
    }

    #[test]
    fn a_flood_is_cut_and_begins_anew_each_second() {
        let stats = WorkerStats::default();
        for _ in 0..3 {
            assert_eq!(Allowance::at(&stats, 7, 3), Allowance::Say);
        }
        assert_eq!(Allowance::at(&stats, 7, 3), Allowance::Last);
        assert_eq!(Allowance::at(&stats, 7, 3), Allowance::Drop);
        assert_eq!(Allowance::at(&stats, 8, 3), Allowance::Say);
    }
}
