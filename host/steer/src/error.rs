//! Why steering could not be changed, for people.

use std::io;

use crate::Binding;

/// Why a plan was not carried out. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteerError {
    /// What is wrong with a listener of the plan. [`crate::check_others`] knows of none.
    #[error("listener {listener:?}: {error}")]
    OfListener {
        /// The listener.
        listener: String,
        /// One of those that name a binding.
        error: Box<SteerError>,
    },
    /// Somebody else takes connections for these addresses and ports.
    #[error("{binding} is taken by {by}")]
    Taken {
        /// The binding of the plan.
        binding: Binding,
        /// Who has it.
        by: String,
    },
    /// A map has no more room.
    #[error("no room: {what} are limited to {limit}; what a change removes counts until it is over")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// Two bindings of the plan want the same connections.
    #[error("{binding} and {other} are the same network and share ports")]
    Duplicate {
        /// One of them.
        binding: Binding,
        /// The other one.
        other: Binding,
    },
    /// A binding names a listener that the plan does not have.
    #[error("{binding} goes to the listener `{listener}`, which does not exist")]
    NoListener {
        /// The binding of the plan.
        binding: Binding,
        /// The missing listener.
        listener: String,
    },
    /// A weight names a worker that its listener does not have.
    #[error("{binding} has a weight for worker {worker} of the listener `{listener}`, which does not exist")]
    NoWorker {
        /// The binding of the plan.
        binding: Binding,
        /// The listener.
        listener: String,
        /// The missing worker.
        worker: u32,
    },
    /// All weights of a binding are zero.
    #[error("all weights of {binding} are zero; a binding to nowhere is removed, not weighted")]
    NoWeight {
        /// The binding of the plan.
        binding: Binding,
    },
    /// Only a bound socket can be given a port by the system.
    #[error("{binding} has no port to steer: port 0 lets the system choose one, which needs a bound socket")]
    NoPort {
        /// The binding of the plan.
        binding: Binding,
    },
    /// A socket of the plan that cannot take connections.
    #[error("socket {slot} of the listener `{listener}` does not listen for TCP")]
    NotListening {
        /// The listener.
        listener: String,
        /// Its place in the listener's sockets.
        slot: usize,
    },
    /// The kernel refused.
    #[error("{doing}: {error}{}", hint(error))]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl SteerError {
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> SteerError {
        move |error| SteerError::System { doing, error }
    }

    /// The binding that it is about, if it is about one.
    pub(crate) fn binding(&self) -> Option<&Binding> {
        match self {
            SteerError::Taken { binding, .. }
            | SteerError::Duplicate { binding, .. }
            | SteerError::NoListener { binding, .. }
            | SteerError::NoWorker { binding, .. }
            | SteerError::NoWeight { binding }
            | SteerError::NoPort { binding } => Some(binding),
            _ => None,
        }
    }
}

/// Old kernels ask for the capability again for every update.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() == io::ErrorKind::PermissionDenied && crate::updates_need_capability() {
        true => {
            " (with kernel.unprivileged_bpf_disabled set, kernels before 5.19 ask CAP_BPF for every update: keep it)"
        }
        false => "",
    }
}

/// Why a process could not go on with what another handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The processes mean different things by the maps.
    #[error("the maps handed over have layout {theirs}, this Odin knows {ours}: restart instead of upgrading")]
    Layout {
        /// Of the process that handed over.
        theirs: u32,
        /// Of this process.
        ours: u32,
    },
    /// The state cannot be read.
    #[error("the steering state handed over cannot be read: {0}")]
    State(#[from] serde_json::Error),
    /// Something is missing or too much.
    #[error("{got} descriptors were handed over for steering; {expected} are needed")]
    Descriptors {
        /// How many there are.
        got: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The kernel refused.
    #[error("taking over the steering maps: {0}")]
    System(#[from] io::Error),
}
