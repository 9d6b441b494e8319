//! What a single value may be: each reader turns a [`Value`] into a setting, or says what was expected instead.
//! Must never read a setting of the wrong type "because it is clear what is meant".

use std::ops::RangeInclusive;
use std::time::Duration;

use super::nearest::did_you_mean;
use super::node::Value;
use super::section::Choice;
use super::units;

fn wrong(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {}", found.described())
}

/// Any text but an empty one.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) if !text.is_empty() => Ok(text.clone()),
        other => Err(wrong("a text", other)),
    }
}

/// A text that `parse` understands; `expected` names it when the value is no text at all.
pub(super) fn parsed<T>(expected: &str, parse: fn(&str) -> Result<T, String>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| match value {
        Value::Text(text) if !text.is_empty() => parse(text),
        other => Err(wrong(expected, other)),
    }
}

/// The name of a listener, cluster or plugin.
pub(super) fn name(value: &Value) -> Result<String, String> {
    let name = text(value)?;
    units::check_name(&name)?;
    Ok(name)
}

/// True or false, and nothing that only looks like it.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    let meant = match value {
        Value::Bool(value) => return Ok(*value),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => "; write true, without quotes",
            "false" | "no" | "off" | "n" => "; write false, without quotes",
            _ => "",
        },
        _ => "",
    };
    Err(wrong("true or false", value) + meant)
}

/// A whole number in a range.
pub(super) fn whole<T: TryFrom<i128>>(range: RangeInclusive<i128>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        match value {
            Value::Int(number) if range.contains(number) => T::try_from(*number).map_err(|_| wrong(&expected, value)),
            Value::Text(text) if text.parse::<i128>().is_ok() => Err(wrong(&expected, value) + "; remove the quotes"),
            other => Err(wrong(&expected, other)),
        }
    }
}

/// `"10s"`; at least `least`.
pub(super) fn duration(least: Duration) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let duration = match value {
            Value::Text(text) if !text.is_empty() => units::duration(text)?,
            Value::Int(number) => return Err(format!(r#"{number} has no unit; write "{number}s" or "{number}ms""#)),
            other => return Err(wrong(r#"a duration such as "10s""#, other)),
        };
        match duration >= least {
            true => Ok(duration),
            false => Err(format!("{} is too short; the least is {}", quoted(value), units::format_duration(least))),
        }
    }
}

/// `"64KiB"` or a number of bytes, in a range.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = match value {
            Value::Text(text) if !text.is_empty() => units::size(text)?,
            Value::Int(number) if *number >= 0 => u64::try_from(*number).unwrap_or(u64::MAX),
            other => return Err(wrong(r#"a size such as "64KiB""#, other)),
        };
        let (least, most) = (units::format_size(*range.start()), units::format_size(*range.end()));
        match range.contains(&bytes) {
            true => Ok(bytes),
            false => Err(format!("{} is out of range; write a size from {least} to {most}", quoted(value))),
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Choice>(value: &Value) -> Result<T, String> {
    let words = || T::ALL.iter().map(|(word, ..)| *word);
    let listed = words().map(|word| format!(r#""{word}""#)).collect::<Vec<_>>().join(" or ");
    let Value::Text(text) = value else { return Err(wrong(&listed, value)) };
    let found = T::ALL.iter().find(|(word, ..)| word == text);
    found.map(|(_, choice, _)| *choice).ok_or_else(|| wrong(&listed, value) + &did_you_mean(text, words()))
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("`{text}`"),
        Value::Int(number) => format!("`{number}`"),
        other => other.described(),
    }
}
