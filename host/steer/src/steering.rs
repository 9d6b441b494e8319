//! The program, its maps and what this process knows of them, in one hand.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use odin_steer_abi as abi;

use crate::announce::Announcement;
use crate::keys::Key;
use crate::maps::Maps;
use crate::program::Program;
use crate::state::{State, UNKNOWN};
use crate::{Applied, Binding, BindingStatus, Plan, ResumeError, RunStats, SteerError, Unavailable, apply, hidden};

/// Steering of this network namespace. It ends with the last process that holds it, by whatever end.
pub struct Steering {
    program: Program,
    maps: Maps,
    state: State,
    announcement: Announcement,
}

// It is built in one thread and used in another.
const _: () = {
    const fn send<T: Send>() {}
    send::<Steering>();
};

impl Steering {
    /// Loads the program and attaches it to this thread's network namespace. Needs CAP_BPF and CAP_NET_ADMIN; what
    /// follows needs none (but see [`crate::updates_need_capability`]).
    pub fn attach() -> Result<Steering, Unavailable> {
        let (program, maps) = Program::attach()?;
        let announcement =
            Announcement::new().map_err(|error| Unavailable::other("opening the socket for other Odins", error))?;
        let steering = Steering { program, maps, state: State::new(), announcement };
        steering.tell();
        Ok(steering)
    }

    /// What a new process needs to go on with this one's program: JSON, and duplicates of the descriptors in a fixed
    /// order. Until it is known what became of that process, this one leaves the maps alone.
    pub fn hand_over(&self) -> io::Result<(String, Vec<OwnedFd>)> {
        let mut descriptors = self.maps.descriptors()?;
        descriptors.extend(self.program.descriptors()?);
        descriptors.push(self.announcement.socket()?);
        Ok((self.state.to_json()?, descriptors))
    }

    /// Goes on with what another process handed over. The first plan should have the sockets that came along: what is
    /// the same needs no update. Sockets that it lacks stay in the map until the plan after, so that the other process
    /// can go on should this one fail.
    pub fn resume(state: &str, descriptors: Vec<OwnedFd>) -> Result<Steering, ResumeError> {
        let state = State::from_json(state)?;
        let expected = abi::MAPS.len() + 3;
        let got = descriptors.len();
        if got != expected {
            return Err(ResumeError::Descriptors { got, expected });
        }
        let mut maps = descriptors;
        let rest: [OwnedFd; 3] =
            maps.split_off(abi::MAPS.len()).try_into().map_err(|_| ResumeError::Descriptors { got, expected })?;
        let [link, program, socket] = rest;
        let steering = Steering {
            program: Program::resume(link, program)?,
            maps: Maps::open(maps).map_err(io::Error::other)?,
            state,
            announcement: Announcement::at(UnixListener::from(socket))?,
        };
        steering.tell();
        Ok(steering)
    }

    /// Hidden sockets of a listener: they listen, do not block, and are closed on exec. They share an address, that of
    /// the listener's other sockets if it has some, unless the system refuses that. It is refused to everyone, from before
    /// they listen until a plan comes without all of them. After a failure, as after one of what they are for,
    /// [`Steering::forget_unplanned`] takes the refusal back.
    pub fn open_sockets(&mut self, like: Option<SocketAddr>, count: usize) -> io::Result<Vec<TcpListener>> {
        let sockets = hidden::bind_together(like, count)?;
        let known = self.state.hidden.len();
        for &(_, address) in &sockets {
            self.refuse(address)?;
        }
        if known != self.state.hidden.len() {
            self.tell();
        }
        sockets.into_iter().map(|(socket, _)| hidden::listen(socket)).collect()
    }

    /// From here on the next plan takes the refusal back, unless it has a socket there.
    fn refuse(&mut self, address: SocketAddr) -> io::Result<()> {
        if self.state.hidden.contains(&address) {
            return Ok(());
        }
        let binding = Binding::from(address);
        if !self.state.bound.iter().any(|bound| bound.binding.overlaps(&binding)) {
            self.state.keys.bind(&mut self.maps, Key::of_address(address), abi::REFUSE)?;
        }
        self.state.hidden.insert(address);
        self.state.unplanned.insert(address);
        Ok(())
    }

    /// Takes back what [`Steering::open_sockets`] did for addresses that no plan has taken up: after a change that failed
    /// and whose sockets were closed. Another program may get such a port at any time, and must be reached there.
    pub fn forget_unplanned(&mut self) {
        let unplanned = std::mem::take(&mut self.state.unplanned);
        if unplanned.is_empty() {
            return;
        }
        for address in unplanned {
            let key = Key::of_address(address);
            let refused = self.state.keys.get(key) == Some(abi::REFUSE);
            match if refused { self.state.keys.unbind(&mut self.maps, key) } else { Ok(()) } {
                Ok(()) => drop(self.state.hidden.remove(&address)),
                // It stays known, so the next plan tries again.
                Err(error) => tracing::warn!(%error, "{address} is refused until the next change"),
            }
        }
        self.tell();
    }

    /// Makes the maps be as planned, by the smallest set of updates and without a connection lost. New bindings must not
    /// overlap what other Odins steer or what listens in this namespace. When it fails, everything is as before.
    pub fn apply(&mut self, plan: &Plan<'_>) -> Result<Applied, SteerError> {
        let hidden = self.state.hidden.len();
        let applied = apply::apply(&mut self.state, &mut self.maps, plan).map_err(|error| plan.name(error))?;
        self.state.unplanned.clear();
        if applied.added + applied.removed > 0 || hidden != self.state.hidden.len() {
            self.tell();
        }
        Ok(applied)
    }

    /// Writes everything again as this process knows it, and removes what it does not know: after another process that
    /// shared the maps has died. The sockets themselves belong to the caller: the next plan writes them all again.
    pub fn restore(&mut self) -> Result<(), SteerError> {
        // First, so that the next plan looks at everything even if this fails half-way.
        for cookie in self.state.sockets.values_mut() {
            *cookie = UNKNOWN;
        }
        let State { tables, bound, keys, .. } = &self.state;
        for (table, &base) in tables {
            for (slot, &index) in (base..).zip(table.iter()) {
                self.maps.set_slot(slot, index).map_err(SteerError::system("writing a table of sockets"))?;
            }
        }
        let mut groups = vec![0; abi::MAX_IDS as usize];
        for bound in bound {
            if let Some(group) = groups.get_mut(bound.id as usize) {
                *group = bound.group;
            }
        }
        // Those in use come before the ports that lead to them, those that are not behind.
        for unused in [false, true] {
            for (id, &group) in (0..).zip(&groups).filter(|(_, group)| (**group == 0) == unused) {
                if self.maps.group(id).map_err(SteerError::system("reading a group"))? != group {
                    self.maps.set_group(id, group).map_err(SteerError::system("pointing a binding to its sockets"))?;
                }
            }
            if !unused {
                keys.restore(&mut self.maps).map_err(SteerError::system("writing the ports of all bindings"))?;
            }
        }
        self.tell();
        Ok(())
    }

    /// The bindings of the last plan, in its order, with their counters. A binding keeps its counters for as long as
    /// plans have it for the same listener; another begins with none.
    pub fn status(&self) -> io::Result<Vec<BindingStatus>> {
        let status = |bound: &crate::state::Bound| {
            Ok(BindingStatus {
                binding: bound.binding,
                listener: bound.listener.clone(),
                steered: self.maps.stat(bound.id, true)?,
                dropped: self.maps.stat(bound.id, false)?,
                slots: abi::count(bound.group),
                weights: bound.weights.clone(),
            })
        };
        self.state.bound.iter().map(status).collect()
    }

    /// Tells other Odins of this network namespace what is steered, from a thread of its own. To be called once, after
    /// capabilities were dropped, since the thread has those of the caller.
    pub fn announce(&self) -> io::Result<()> {
        self.announcement.start()
    }

    /// Stops telling: another process has taken over.
    pub fn retire(&self) {
        self.announcement.stop();
    }

    /// What the program cost, as far as the kernel counts it (`kernel.bpf_stats_enabled`).
    pub fn run_stats(&self) -> io::Result<RunStats> {
        self.program.run_stats()
    }

    /// What others shall be told.
    fn tell(&self) {
        self.announcement.set(self.state.bindings(), self.state.hidden.iter().copied().collect());
    }
}
