//! Steering: connections for many addresses and ports go to the workers' sockets by one BPF program.
//!
//! Every worker of a listener has a *hidden* socket, which listens where nobody connects to. The program, run by the
//! kernel for each new connection, finds the binding of the dialled address and port and picks one of its sockets. A
//! change is a few updates of the program's maps, so ten thousand ports come and go in milliseconds, and nothing is
//! refused meanwhile. Nothing is pinned: what steers is gone with the last process that holds it.
//!
//! This is the only crate that knows aya.

mod announce;
mod answering;
mod apply;
mod binding;
mod error;
mod hidden;
mod keys;
mod listening;
mod maps;
mod others;
mod overlap;
mod plan;
mod ports;
mod program;
mod slots;
mod state;
mod steering;
mod table;
mod turn;
mod unavailable;

pub use binding::{Binding, Ports};
pub use error::{ResumeError, SteerError};
pub use others::{check_others, steered_by_others};
pub use plan::{Applied, BindingStatus, Plan, PlannedBinding, PlannedListener, RunStats, Weight};
pub use steering::Steering;
pub use turn::{Turn, turn};
pub use unavailable::{Unavailable, updates_need_capability};
