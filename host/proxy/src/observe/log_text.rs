//! How the access log writes what peers chose: so that it can neither break a line nor forge one, nor move the cursor of
//! whoever reads it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A JSON string in quotes. Characters that terminals and editors act on are escaped, the others stay.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape(&mut out, text, acts);
    out.push('"');
    out
}

/// As [`quoted`], with everything escaped but printable ASCII: for lines that people read on a terminal.
pub(crate) fn quoted_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape(&mut out, text, |c| !matches!(c, ' '..='~'));
    out.push('"');
    out
}

fn escape(out: &mut String, text: &str, escaped: fn(char) -> bool) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if escaped(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
}

/// Control characters, line and paragraph separators, and what changes the direction of text or cannot be seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> f64 {
    since_epoch().as_secs_f64()
}

/// The time as RFC 3339 writes it, in UTC and milliseconds: `2026-11-30T17:10:48.123Z`.
pub(crate) fn now() -> String {
    timestamp(since_epoch())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_epoch.subsec_millis())
}

/// Year, month and day of the Gregorian calendar, by the days since 1970-01-01. Years are counted from March, so that the
/// leap day is the last one, in eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(quoted("a\"\\b\n\u{1b}[2J"), r#""a\"\\b\u000a\u001b[2J""#);
        assert_eq!(quoted("\u{85}\u{9b}\u{9d}\u{2028}\u{202e}é"), "\"\\u0085\\u009b\\u009d\\u2028\\u202eé\"");
        assert_eq!(quoted_ascii("é\u{1f600}~"), r#""\u00e9\ud83d\ude00~""#);
        let read: String = serde_json_like(&quoted("\u{e0001}"));
        assert_eq!(read, "\u{e0001}");
    }

    /// Reads the escapes back.
    fn serde_json_like(text: &str) -> String {
        let units: Vec<u16> =
            text.trim_matches('"').split("\\u").skip(1).map(|unit| u16::from_str_radix(unit, 16).unwrap()).collect();
        String::from_utf16(&units).unwrap()
    }

    #[test]
    fn times_are_written_as_people_do() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_796_058_648, "2026-11-30T17:10:48.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(timestamp(Duration::from_millis(seconds * 1_000 + 7)), text);
        }
    }
}
