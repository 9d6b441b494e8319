//! Turns what wasmtime says about a failed call into a `Cause`, and its many-line errors into one line.
//! Must never let a wasmtime type out of the crate.

use std::fmt::Write;

use wasmtime::{Trap, WasmBacktrace};

use crate::error::Cause;
use crate::store::StoreData;

/// A backtrace tells so many frames.
const MAX_FRAMES: usize = 16;

/// Why the call failed. `data` is that of its store.
pub(crate) fn cause(error: &wasmtime::Error, data: &StoreData) -> Cause {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::Interrupt) => return Cause::Timeout { limit: data.deadline.limit() },
        Some(Trap::StackOverflow) => return Cause::StackOverflow,
        _ if data.meter.refused() => {
            return Cause::OutOfMemory { limit: data.slot.spec.limits.memory_bytes };
        }
        _ => {}
    }
    let message = match trap {
        Some(Trap::UnreachableCodeReached) => "unreachable executed".to_owned(),
        Some(trap) => {
            let text = trap.to_string();
            text.strip_prefix("wasm trap: ").map(str::to_owned).unwrap_or(text)
        }
        None => single_line(&error.root_cause().to_string()),
    };
    Cause::Trap { message, backtrace: backtrace(error) }
}

/// The whole chain of an error, outermost first, without a backtrace.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let parts: Vec<String> = error
        .chain()
        .map(|link| single_line(&link.to_string()))
        // A backtrace is a link of the chain like any other, told apart by its words alone.
        .filter(|words| !words.starts_with("error while executing at wasm backtrace"))
        .collect();
    parts.join(": ")
}

pub(crate) fn single_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

fn backtrace(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return text };
    for frame in backtrace.frames().iter().take(MAX_FRAMES) {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string does not fail.
        let _ = match frame.func_name() {
            Some(name) => write!(text, "{:#}", rustc_demangle::demangle(name)),
            None => write!(text, "function {}", frame.func_index()),
        };
    }
    text
}
