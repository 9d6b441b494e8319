//! Turns what wasmtime says about a failed call into a `Cause`. Must never let a wasmtime type out of the crate.

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::error::Cause;
use crate::failure::Failure;
use crate::store::StoreData;
use crate::words;

/// A backtrace tells so many frames.
const MAX_FRAMES: usize = 16;
/// Of the name of a function, which is the plugin's to choose, so many bytes.
const MAX_NAME_BYTES: usize = 200;

/// Why the call failed. `data` is that of its store.
pub(crate) fn failure(error: &wasmtime::Error, data: &StoreData) -> Failure {
    Failure { cause: cause(error, data), backtrace: backtrace(error) }
}

fn cause(error: &wasmtime::Error, data: &StoreData) -> Cause {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::Interrupt) => return data.overrun(),
        Some(Trap::StackOverflow) => return Cause::StackOverflow,
        Some(Trap::MemoryOutOfBounds) if overflowed(error) => return Cause::StackOverflow,
        _ if data.meter.refused() => {
            return Cause::OutOfMemory { limit: data.slot.spec.limits.memory_bytes };
        }
        _ => {}
    }
    let message = match trap {
        Some(Trap::UnreachableCodeReached) if data.last_words.is_some() => data.last_words.clone().unwrap_or_default(),
        Some(Trap::UnreachableCodeReached) => "unreachable executed".to_owned(),
        Some(trap) => {
            let text = trap.to_string();
            text.strip_prefix("wasm trap: ").map(str::to_owned).unwrap_or(text)
        }
        None => words::one_line(&error.root_cause().to_string()),
    };
    Cause::Trap { message }
}

/// Toolchains put a guest's own stack at the beginning of its memory, and it grows down: past its end the addresses are
/// just below zero. A wrong pointer may be there too, but not while a function calls itself.
fn overflowed(error: &wasmtime::Error) -> bool {
    const BELOW_ZERO: std::ops::Range<u64> = (1 << 32) - (1 << 20)..1 << 32;
    // wasmtime keeps the type of this link to itself.
    let address = |link: &(dyn std::error::Error + 'static)| {
        let text = link.to_string();
        let rest = text.strip_prefix("memory fault at wasm address 0x")?;
        u64::from_str_radix(rest.split(' ').next()?, 16).ok()
    };
    let below = error.chain().filter_map(address).any(|address| BELOW_ZERO.contains(&address));
    below && error.downcast_ref::<WasmBacktrace>().is_some_and(|backtrace| repeats(backtrace.frames()))
}

fn repeats(frames: &[FrameInfo]) -> bool {
    let indexes: Vec<u32> = frames.iter().map(FrameInfo::func_index).collect();
    indexes.iter().enumerate().any(|(at, index)| indexes[..at].contains(index))
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
        [once] => name(once),
        [repeated, ..] => format!("{} (repeated)", name(repeated)),
    }
}

fn name(function: &str) -> String {
    let function = &function[..function.floor_char_boundary(MAX_NAME_BYTES)];
    words::printable(&format!("{:#}", rustc_demangle::demangle(function))).into_owned()
}
