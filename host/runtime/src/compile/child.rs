//! Compiles in a process of its own, which has limits and a low priority: what a component makes the compiler do costs
//! nobody else's time or memory.
//!
//! ```text
//! this process: memfd with the component, memfd for the result, memfd for words
//!     /proc/self/exe SUBCOMMAND STACK CPU MEMORY       stdin, stdout, stderr
//! the child: sets its limits, compiles, writes the code and behind it its SHA-256 and its length
//! ```

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sha2::{Digest as _, Sha256};

use super::{CompileLimits, Hash};
use crate::engine;
use crate::error::LoadError;
use crate::{failure, words};

/// The largest result, in bytes.
const MAX_CODE: u64 = 512 << 20;
/// What the child may say, in bytes.
const MAX_WORDS: u64 = 4 << 10;
/// Behind the code: its SHA-256, and its length.
const TRAILER: usize = size_of::<Hash>() + size_of::<u64>();
/// So many times its CPU time may pass on the clock: on a busy host the child has to wait.
const PATIENCE: u32 = 10;
/// Added to the niceness of this process: whoever serves goes first.
const NICE: i32 = 5;

/// Machine code for an engine with this size of stack. Blocks.
pub(super) fn compile(limits: &CompileLimits, stack: usize, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let failed = |error: io::Error| LoadError::Compile(format!("the compiler cannot be started: {error}"));
    let [mut input, mut code, mut words] = [(); 3].map(|()| memory());
    let (input, code, words) = (input.as_mut(), code.as_mut(), words.as_mut());
    let (Ok(input), Ok(code), Ok(words)) = (input, code, words) else {
        return Err(LoadError::Compile("the compiler gets no file in memory".to_owned()));
    };
    let status = run(limits, stack, wasm, [input, code, words]).map_err(failed)?;
    let Some(status) = status else { return Err(LoadError::Compile(too_slow(limits))) };
    let said = said(words);
    if status.success() {
        return received(code).map_err(|fault| LoadError::Compile(format!("the compiler's answer {fault}")));
    }
    Err(refusal(status, &said, limits))
}

/// Runs the child to its end; none if it had to be ended.
fn run(
    limits: &CompileLimits,
    stack: usize,
    wasm: &[u8],
    [input, code, words]: [&mut File; 3],
) -> io::Result<Option<ExitStatus>> {
    input.write_all(wasm)?;
    input.seek(SeekFrom::Start(0))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(limits.subcommand);
    command.args([stack as u64, limits.cpu.as_secs().max(1), limits.memory_bytes].map(|number| number.to_string()));
    // An allocator that reserves a gigabyte at once, as mimalloc does, would leave nothing to limit.
    command.env_clear().env("MIMALLOC_ARENA_RESERVE", "0");
    command.stdin(input.try_clone()?).stdout(code.try_clone()?).stderr(words.try_clone()?);
    let mut child = command.spawn()?;
    let ended = wait(&mut child, limits.cpu * PATIENCE);
    if !matches!(ended, Ok(Some(_))) {
        // One that has ended meanwhile cannot be killed, which is as good.
        let _ = child.kill();
        child.wait()?;
    }
    ended
}

fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    const LONGEST: Duration = Duration::from_millis(10);
    let (begun, mut step) = (Instant::now(), Duration::from_micros(500));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(step);
        step = (step * 2).min(LONGEST);
    }
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("odin-compile", MemfdFlags::CLOEXEC)?))
}

/// The code, if it is whole.
fn received(file: &mut File) -> Result<Vec<u8>, String> {
    let mut code = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(MAX_CODE + 1).read_to_end(&mut code));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let trailer = code.split_off(code.len().saturating_sub(TRAILER));
    let (hash, length) = trailer.split_at_checked(size_of::<Hash>()).ok_or("is cut short")?;
    let whole = *length == (code.len() as u64).to_le_bytes() && *hash == *Sha256::digest(&code);
    if whole { Ok(code) } else { Err("is not whole".to_owned()) }
}

fn said(file: &mut File) -> String {
    let mut words = Vec::new();
    // What cannot be read is not told.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(MAX_WORDS).read_to_end(&mut words));
    words::one_line(&String::from_utf8_lossy(&words))
}

fn too_slow(limits: &CompileLimits) -> String {
    format!("it takes longer than `compile-timeout`, {} s of CPU time", limits.cpu.as_secs())
}

/// Why the child did not compile it.
fn refusal(status: ExitStatus, said: &str, limits: &CompileLimits) -> LoadError {
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    // As the allocator, the kernel and wasmtime say it.
    let no_memory = ["memory allocation of", "Cannot allocate memory", "out of memory"];
    let words = match status.code() {
        _ if no_memory.iter().any(|words| said.contains(words)) => {
            format!("it takes more memory than `compile-memory`, {} MiB", limits.memory_bytes >> 20)
        }
        Some(REFUSED) => return LoadError::Invalid(said.to_owned()),
        _ if is(Signal::XCPU) || is(Signal::KILL) => too_slow(limits),
        _ if is(Signal::XFSZ) => format!("its code is larger than {} MiB", MAX_CODE >> 20),
        _ => format!("the compiler ended with {status}: {said}"),
    };
    LoadError::Compile(words)
}

/// The exit code of a child that found the component invalid. Not 1 or 101, by which other faults end a program.
const REFUSED: i32 = 3;

/// What the child process does: `arguments` are those behind the subcommand. Call it before any thread is started.
pub fn compile_child(arguments: &[String]) -> ExitCode {
    let numbers: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let [stack, cpu_seconds, memory_bytes] = numbers[..] else {
        eprintln!("this command is for Odin itself");
        return ExitCode::from(2);
    };
    match limit(cpu_seconds, memory_bytes).and_then(|()| compile_here(stack)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(invalid)) => {
            eprintln!("{invalid}");
            ExitCode::from(REFUSED.unsigned_abs() as u8)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives up what compiling does not need, for good.
fn limit(cpu_seconds: u64, memory_bytes: u64) -> io::Result<()> {
    // It must not outlive the thread that waits for it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    rustix::process::nice(NICE)?;
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Fsize, both(MAX_CODE))?;
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds + 1) })?;
    setrlimit(Resource::As, both(address_space()?.saturating_add(memory_bytes)))?;
    Ok(())
}

/// What this process has mapped by now, its own program mostly, in bytes.
fn address_space() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.unwrap_or_default() * rustix::param::page_size() as u64)
}

/// Compiles on a thread whose stack is there from the beginning: the first thread's grows, for which there may be no room.
fn compile_here(stack: u64) -> io::Result<Result<(), String>> {
    const STACK: usize = 16 << 20;
    let compiling = std::thread::Builder::new().stack_size(STACK).spawn(move || compile_and_write(stack))?;
    compiling.join().unwrap_or_else(|_| Err(io::Error::other("the compiler panicked")))
}

fn compile_and_write(stack: u64) -> io::Result<Result<(), String>> {
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    let other = |error: wasmtime::Error| io::Error::other(failure::one_line(&error));
    let engine = engine::compiler(usize::try_from(stack).unwrap_or(usize::MAX)).map_err(other)?;
    let code = match engine.precompile_component(&wasm) {
        Ok(code) => code,
        Err(error) => return Ok(Err(failure::one_line(&error))),
    };
    let mut out = io::stdout().lock();
    out.write_all(&code)?;
    out.write_all(&Sha256::digest(&code))?;
    out.write_all(&(code.len() as u64).to_le_bytes())?;
    out.flush()?;
    Ok(Ok(()))
}
