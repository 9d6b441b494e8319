//! Turns what wasmtime says about a failed call into a `Cause`, and its many-line errors into one line.
//! Must never let a wasmtime type out of the crate.

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::error::Cause;
use crate::store::StoreData;

/// A backtrace tells so many frames.
const MAX_FRAMES: usize = 16;

/// A failed call, not yet marked with its plugin and hook.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// The guest's functions, innermost first, one a line.
    pub(crate) backtrace: String,
}

impl From<Cause> for Box<Failure> {
    fn from(cause: Cause) -> Self {
        Box::new(Failure { cause, backtrace: String::new() })
    }
}

/// Why the call failed. `data` is that of its store.
pub(crate) fn failure(error: &wasmtime::Error, data: &StoreData) -> Failure {
    Failure { cause: cause(error, data), backtrace: backtrace(error) }
}

fn cause(error: &wasmtime::Error, data: &StoreData) -> Cause {
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
    Cause::Trap { message }
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

/// Innermost first, one a line; functions without a name (adapters, mostly) are left out, and recursion is told once.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names: Vec<&str> = backtrace.frames().iter().filter_map(FrameInfo::func_name).collect();
    let lines: Vec<String> = names.chunk_by(|a, b| a == b).take(MAX_FRAMES).map(line).collect();
    lines.join("\n")
}

/// One function, or a run of the same.
fn line(run: &[&str]) -> String {
    match run {
        [] => String::new(),
        [once] => format!("{:#}", rustc_demangle::demangle(once)),
        [name, ..] => format!("{:#} (repeated)", rustc_demangle::demangle(name)),
    }
}
