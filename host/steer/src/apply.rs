//! Makes the maps be as planned, while connections go on being steered by them. Nothing is taken away before its
//! replacement is there: new sockets come first, then tables, groups and bindings; removals go the other way. Until the
//! very end everything can be taken back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use odin_steer_abi as abi;

use crate::keys::{self, Key};
use crate::maps::Maps;
use crate::overlap::Overlaps;
use crate::plan::{Applied, Plan, Weight};
use crate::state::{Bound, State, UNKNOWN};
use crate::{Binding, SteerError, hidden, others, table};

/// Carries a plan out. The state is as before when it fails, and so are the maps.
pub(crate) fn apply(state: &mut State, maps: &mut Maps, plan: &Plan<'_>) -> Result<Applied, SteerError> {
    let passed = plan.left_alone();
    if state.is(plan, &passed) {
        return Ok(Applied::default());
    }
    plan.check()?;
    let planned: HashSet<Binding> = plan.bindings.iter().map(|planned| planned.binding).collect();
    let added: Vec<Binding> = plan
        .bindings
        .iter()
        .map(|planned| planned.binding)
        .filter(|binding| !state.places.contains_key(binding))
        .collect();
    let removed: Vec<Bound> = state.bound.iter().filter(|bound| !planned.contains(&bound.binding)).cloned().collect();
    others::check(&added, &state.hidden.iter().chain(&passed).copied().collect())?;

    let updates = maps.updates();
    for numbers in [&mut state.ids, &mut state.slots, &mut state.indices] {
        numbers.wake();
    }
    state.keys.wake();
    let mut change = Change { state, maps, undo: Vec::new() };
    match change.carry_out(plan, passed, &removed) {
        Ok(next) => {
            let changed = next.changed;
            commit(state, maps, next, &removed);
            Ok(Applied { added: added.len(), changed, removed: removed.len(), updates: maps.updates() - updates })
        }
        Err(error) => {
            change.take_back();
            Err(error)
        }
    }
}

/// As many as there are ids that mean no other thing.
const MAX_BINDINGS: u32 = abi::MAX_IDS - 2;
const KEYS: &str = "networks on ports that have many";

fn full(what: &'static str, limit: u32) -> SteerError {
    SteerError::Full { what, limit }
}

/// What the state becomes.
struct Next<'a> {
    names: HashMap<String, Vec<u32>>,
    sockets: HashMap<u32, u64>,
    /// Sockets that take the place of others.
    replacing: Vec<(u32, BorrowedFd<'a>)>,
    hidden: BTreeSet<SocketAddr>,
    passed: BTreeSet<SocketAddr>,
    tables: HashMap<Arc<[u32]>, u32>,
    bound: Vec<Bound>,
    /// Ids that bindings had under another listener. Their groups stay: who is just being steered by them still arrives.
    left: Vec<u32>,
    changed: usize,
}

/// How to take one step back.
enum Undo {
    Socket(u32),
    Slots { base: u32, count: u32 },
    NewGroup(u32),
    Group { id: u32, group: u64 },
    Key { key: Key, id: Option<u32> },
}

struct Change<'a> {
    state: &'a mut State,
    maps: &'a mut Maps,
    undo: Vec<Undo>,
}

impl Change<'_> {
    fn carry_out<'p>(
        &mut self,
        plan: &Plan<'p>,
        passed: BTreeSet<SocketAddr>,
        removed: &[Bound],
    ) -> Result<Next<'p>, SteerError> {
        let mut next = Next {
            names: HashMap::new(),
            sockets: HashMap::new(),
            replacing: Vec::new(),
            hidden: BTreeSet::new(),
            passed,
            tables: HashMap::new(),
            bound: Vec::with_capacity(plan.bindings.len()),
            left: Vec::new(),
            changed: 0,
        };
        self.place_sockets(plan, &mut next)?;
        self.set_groups(plan, &mut next)?;
        self.set_keys(&next, removed)?;
        for bound in removed {
            self.set_group(bound.id, bound.group, 0)?;
        }
        // Nobody gives back the socket that was there before, so this comes last. All have been looked at; only for want
        // of memory can it fail.
        for &(index, socket) in &next.replacing {
            // Until the plan is carried out: on a failure nobody knows whose it is.
            self.state.sockets.insert(index, UNKNOWN);
            self.maps.set_socket(index, socket).map_err(SteerError::system("replacing a socket"))?;
        }
        Ok(next)
    }

    /// Gives every socket an index: the one that it has, else that of the socket whose place it takes, else a new one.
    fn place_sockets<'p>(&mut self, plan: &Plan<'p>, next: &mut Next<'p>) -> Result<(), SteerError> {
        let mut known: HashMap<u64, u32> = self
            .state
            .sockets
            .iter()
            .filter(|(_, cookie)| **cookie != UNKNOWN)
            .map(|(&at, &cookie)| (cookie, at))
            .collect();
        let mut cookies = Vec::new();
        for listener in &plan.listeners {
            for (slot, &socket) in listener.sockets.iter().enumerate() {
                if !hidden::takes_connections(socket) {
                    return Err(SteerError::NotListening { listener: listener.name.to_owned(), slot });
                }
                let looking = || SteerError::system("looking at a socket");
                let cookie = hidden::cookie(socket).map_err(looking())?;
                let address = hidden::address(socket).map_err(looking())?;
                if self.state.hidden.contains(&address) {
                    next.hidden.insert(address);
                }
                if let Some(&index) = known.get(&cookie) {
                    next.sockets.insert(index, cookie);
                }
                cookies.push(cookie);
            }
        }
        let mut cookies = cookies.into_iter();
        for listener in &plan.listeners {
            let before = self.state.names.get(listener.name).cloned().unwrap_or_default();
            let mut indices = Vec::with_capacity(listener.sockets.len());
            for (slot, (&socket, cookie)) in listener.sockets.iter().zip(&mut cookies).enumerate() {
                let index = match (known.get(&cookie), before.get(slot)) {
                    (Some(&index), _) => index,
                    (None, Some(&index)) if !self.state.shared && !next.sockets.contains_key(&index) => {
                        next.replacing.push((index, socket));
                        index
                    }
                    _ => self.add_socket(socket)?,
                };
                known.insert(cookie, index);
                next.sockets.insert(index, cookie);
                indices.push(index);
            }
            next.names.insert(listener.name.to_owned(), indices);
        }
        Ok(())
    }

    fn add_socket(&mut self, socket: BorrowedFd<'_>) -> Result<u32, SteerError> {
        let index = self.state.indices.take(1).ok_or_else(|| full("sockets", abi::MAX_SOCKETS))?;
        self.undo.push(Undo::Socket(index));
        self.maps.set_socket(index, socket).map_err(SteerError::system("adding a socket"))?;
        Ok(index)
    }

    /// Writes new tables and points the bindings' groups to them.
    fn set_groups(&mut self, plan: &Plan<'_>, next: &mut Next<'_>) -> Result<(), SteerError> {
        let names = std::mem::take(&mut next.names);
        let sockets: HashMap<&str, &[u32]> = names.iter().map(|(name, indices)| (&**name, &**indices)).collect();
        // Whoever goes to the same sockets by the same weights shares a table.
        let mut groups: HashMap<(&str, &[Weight]), u64> = HashMap::new();
        for planned in &plan.bindings {
            let listener = if planned.weights.is_empty() { &*planned.listener } else { "" };
            let group = match groups.get(&(listener, &*planned.weights)) {
                Some(&group) => group,
                None => {
                    let table = match planned.weights.is_empty() {
                        true => sockets.get(listener).copied().unwrap_or_default().to_vec(),
                        false => table::of_weights(&planned.weights, &sockets),
                    };
                    let group = self.table(table.into(), next)?;
                    groups.insert((listener, &planned.weights), group);
                    group
                }
            };
            let id = match self.state.bound(&planned.binding) {
                // Its counters are the other listener's, and so is what still goes by them.
                Some(before) if before.listener != planned.listener => {
                    next.left.push(before.id);
                    next.changed += 1;
                    self.add_group(group)?
                }
                Some(before) => {
                    let (id, old) = (before.id, before.group);
                    next.changed += usize::from(before.weights != planned.weights || old != group);
                    self.set_group(id, old, group)?;
                    id
                }
                None => self.add_group(group)?,
            };
            next.bound.push(Bound {
                binding: planned.binding,
                listener: planned.listener.clone(),
                weights: planned.weights.clone(),
                id,
                group,
            });
        }
        drop(sockets);
        next.names = names;
        Ok(())
    }

    /// The group of a table, which is written unless it is there already.
    fn table(&mut self, table: Arc<[u32]>, next: &mut Next<'_>) -> Result<u64, SteerError> {
        let count = table.len() as u32;
        if count == 0 {
            return Ok(0);
        }
        let there = next.tables.get(&table).or_else(|| self.state.tables.get(&table)).copied();
        let base = match there {
            Some(base) => base,
            None => {
                let base = self.state.slots.take(count).ok_or_else(|| full("slots of all tables", abi::MAX_SLOTS))?;
                self.undo.push(Undo::Slots { base, count });
                for (slot, &index) in (base..).zip(table.iter()) {
                    self.maps.set_slot(slot, index).map_err(SteerError::system("writing a table of sockets"))?;
                }
                base
            }
        };
        next.tables.insert(table, base);
        Ok(abi::group(base, count))
    }

    fn set_group(&mut self, id: u32, before: u64, group: u64) -> Result<(), SteerError> {
        if before == group {
            return Ok(());
        }
        self.undo.push(Undo::Group { id, group: before });
        self.maps.set_group(id, group).map_err(SteerError::system("pointing a binding to its sockets"))
    }

    fn add_group(&mut self, group: u64) -> Result<u32, SteerError> {
        let id = self.state.ids.take(1).ok_or_else(|| full("bindings", MAX_BINDINGS))?;
        self.undo.push(Undo::NewGroup(id));
        let adding = || SteerError::system("adding a binding");
        self.maps.reset_stats(id).map_err(adding())?;
        self.maps.set_group(id, group).map_err(adding())?;
        Ok(id)
    }

    /// Adds the keys of new ids and of refused addresses, then removes those of nobody.
    fn set_keys(&mut self, next: &Next<'_>, removed: &[Bound]) -> Result<(), SteerError> {
        let has_id = |bound: &Bound| self.state.bound(&bound.binding).is_some_and(|before| before.id == bound.id);
        let added = next.bound.iter().filter(|bound| !has_id(bound));
        let added: Vec<_> = added.map(|bound| (bound.binding, bound.id)).collect();
        let same = next.hidden == self.state.hidden && next.passed == self.state.passed;
        if added.is_empty() && removed.is_empty() && same {
            return Ok(());
        }
        for &(binding, id) in &added {
            for key in keys::of(&binding) {
                self.bind(key, id)?;
            }
        }
        // A steered connection never reaches a hidden socket's own address, so what a binding covers needs no refusal, and
        // the binding its user wrote must win.
        let bindings: Vec<_> = next.bound.iter().map(|bound| bound.binding).collect();
        let bindings = Overlaps::new(&bindings);
        let covered = |address: &SocketAddr| bindings.contain(&Binding::from(*address));
        let refused = next.hidden.iter().filter(|address| !covered(address)).map(|address| (address, abi::REFUSE));
        // What no binding covers comes to its own socket without help.
        let passed = next.passed.iter().filter(|address| covered(address)).map(|address| (address, abi::PASS));
        let reserved: HashMap<Key, u32> =
            refused.chain(passed).map(|(address, id)| (Key::of_address(*address), id)).collect();
        for (&key, &id) in &reserved {
            if self.state.keys.get(key) != Some(id) {
                self.bind(key, id)?;
            }
        }

        for bound in removed {
            for key in keys::of(&bound.binding) {
                self.unbind(key, bound.id)?;
            }
        }
        let hidden = self.state.hidden.iter().map(|address| (address, abi::REFUSE));
        let before = hidden.chain(self.state.passed.iter().map(|address| (address, abi::PASS)));
        let before: Vec<_> = before.map(|(address, id)| (Key::of_address(*address), id)).collect();
        for (key, id) in before.into_iter().filter(|(key, id)| reserved.get(key) != Some(id)) {
            self.unbind(key, id)?;
        }
        Ok(())
    }

    fn bind(&mut self, key: Key, id: u32) -> Result<(), SteerError> {
        let before = self.state.keys.bind(self.maps, key, id).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => full(KEYS, abi::MAX_KEYS),
            _ => SteerError::System { doing: "adding a port of a binding", error },
        })?;
        self.undo.push(Undo::Key { key, id: before });
        Ok(())
    }

    /// Unless the key has become another's.
    fn unbind(&mut self, key: Key, id: u32) -> Result<(), SteerError> {
        if self.state.keys.get(key) != Some(id) {
            return Ok(());
        }
        self.undo.push(Undo::Key { key, id: Some(id) });
        self.state.keys.unbind(self.maps, key).map_err(SteerError::system("removing a port of a binding"))
    }

    /// Puts everything back, the last step first.
    fn take_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            let done = match undo {
                Undo::Socket(index) => {
                    self.state.indices.give_back(index..index + 1);
                    self.maps.clear_socket(index)
                }
                // What nobody points to does no harm.
                Undo::Slots { base, count } => {
                    self.state.slots.give_back(base..base + count);
                    Ok(())
                }
                Undo::NewGroup(id) => {
                    self.state.ids.give_back(id..id + 1);
                    self.maps.set_group(id, 0)
                }
                Undo::Group { id, group } => self.maps.set_group(id, group),
                Undo::Key { key, id: Some(id) } => self.state.keys.bind(self.maps, key, id).map(drop),
                Undo::Key { key, id: None } => self.state.keys.unbind(self.maps, key),
            };
            if let Err(error) = done {
                tracing::error!(%error, "a step of a change to the steering that failed could not be taken back");
            }
        }
    }
}

/// The plan is what is now; what it no longer uses comes free.
fn commit(state: &mut State, maps: &mut Maps, next: Next<'_>, removed: &[Bound]) {
    let mut gone = std::mem::take(&mut state.leftover);
    let unused: Vec<u32> = state.sockets.keys().copied().filter(|index| !next.sockets.contains_key(index)).collect();
    match state.shared {
        true => state.leftover = unused,
        false => gone.extend(unused),
    }
    for index in gone {
        // Connections no longer go there, so it can stay until the kernel takes the closed socket out.
        if let Err(error) = maps.clear_socket(index) {
            tracing::warn!(%error, "a socket that is no longer steered to stays in its map");
        }
        state.indices.give_back(index..index + 1);
    }
    for (table, &base) in state.tables.iter().filter(|(table, _)| !next.tables.contains_key(*table)) {
        state.slots.give_back(base..base + table.len() as u32);
    }
    for id in removed.iter().map(|bound| bound.id).chain(next.left) {
        state.ids.give_back(id..id + 1);
    }
    state.places = next.bound.iter().enumerate().map(|(place, bound)| (bound.binding, place)).collect();
    state.names = next.names;
    state.sockets = next.sockets;
    state.hidden = next.hidden;
    state.passed = next.passed;
    state.tables = next.tables;
    state.bound = next.bound;
    state.shared = false;
}
