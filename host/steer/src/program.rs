//! The program in the kernel: loaded from the embedded object and attached to this network namespace for as long as a
//! process holds the link.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::programs::SkLookup;
use aya::programs::links::FdLink;
use aya::{EbpfError, EbpfLoader};
use odin_steer_abi as abi;
use rustix::process::{Resource, Rlimit};

use crate::announce;
use crate::maps::Maps;
use crate::plan::RunStats;
use crate::unavailable::{self, Unavailable};

/// `make bpf` builds it; a test compares it with a rebuild.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bpf/odin-steer.o"));

/// The program and what keeps it attached.
pub(crate) struct Program {
    link: OwnedFd,
    program: OwnedFd,
}

impl Program {
    /// Loads the object and attaches it to this thread's network namespace.
    pub(crate) fn attach() -> Result<(Program, Maps), Unavailable> {
        unavailable::check()?;
        raise_memlock();
        let loading = |error| unavailable::explain("loading the steering program", error);
        // A new process goes on with the program of the old one, and so with its secret.
        let secret = announce::random()
            .map(u32::from_ne_bytes)
            .map_err(|error| Unavailable::other("asking the system for a random number", error))?;
        let mut object = EbpfLoader::new()
            .override_global(abi::SECRET, &secret, true)
            .load(OBJECT)
            .map_err(|error| unavailable::explain("creating the steering maps", error))?;
        let program: &mut SkLookup = object
            .program_mut(abi::PROGRAM)
            .ok_or_else(|| Unavailable::other("loading the steering program", "the object does not hold it"))?
            .try_into()
            .map_err(|error: aya::programs::ProgramError| loading(error.into()))?;
        program.load().map_err(|error| loading(error.into()))?;
        let attaching = |error: EbpfError| unavailable::explain("attaching to the network namespace", error);
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(|error| Unavailable::other("opening /proc/thread-self/ns/net", error))?;
        let link =
            program.attach(namespace).and_then(|id| program.take_link(id)).map_err(|error| attaching(error.into()))?;
        let descriptor = program
            .fd()
            .map_err(|error| attaching(error.into()))?
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Unavailable::other("keeping the steering program", error))?;
        // Not before the program is loaded: until then it names the maps by the numbers of their descriptors.
        let maps = Maps::loaded(&mut object).map_err(|error| loading(error.into()))?;
        let link = self::descriptor(&link.into())
            .map_err(|error| Unavailable::other("keeping the link of the steering program", error))?;
        Ok((Program { link, program: descriptor }, maps))
    }

    /// Goes on with descriptors that another process handed over.
    pub(crate) fn resume(link: OwnedFd, program: OwnedFd) -> io::Result<Program> {
        for (descriptor, field) in [(&link, "link_id"), (&program, "prog_id")] {
            if described(descriptor.as_raw_fd(), field)?.is_none() {
                return Err(io::Error::other(format!("a descriptor handed over has no {field}")));
            }
        }
        Ok(Program { link, program })
    }

    /// Duplicates of the link's and the program's descriptors.
    pub(crate) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.link.try_clone()?, self.program.try_clone()?])
    }

    pub(crate) fn run_stats(&self) -> io::Result<RunStats> {
        let number = |field| described(self.program.as_raw_fd(), field).map(Option::unwrap_or_default);
        Ok(RunStats { runs: number("run_cnt")?, nanos: number("run_time_ns")? })
    }
}

/// aya does not give out a link's descriptor, so it is looked up among this process's own, and duplicated by its number.
/// (`pidfd_getfd` would do that without `unsafe`, and is what seccomp filters of containers and systemd forbid.)
fn descriptor(link: &FdLink) -> io::Result<OwnedFd> {
    let id = link.info().map_err(io::Error::other)?.id();
    for entry in fs::read_dir("/proc/thread-self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // One that was closed since is not the one.
        if described(number, "link_id").ok().flatten() == Some(u64::from(id)) {
            #[allow(unsafe_code, reason = "there is no safe way from a number to a descriptor")]
            // SAFETY: the kernel has just told that this number is a descriptor of the link, and only `link`, which is
            // borrowed, owns one: it stays open until the copy is made.
            let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
            return borrowed.try_clone_to_owned();
        }
    }
    Err(io::Error::other(format!("link {id} is not among this process's descriptors")))
}

/// A number that the kernel tells about a descriptor.
fn described(number: RawFd, field: &str) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{number}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}

/// Kernels before 5.11 count maps as locked memory; as far as this process may, it allows itself any amount.
fn raise_memlock() {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let unlimited = Rlimit { current: None, maximum: None };
    if rustix::process::setrlimit(Resource::Memlock, unlimited).is_err() {
        let _ = rustix::process::setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, ..limit });
    }
}
