//! What this process knows of the maps: enough to find the smallest change, to take it back, and to write everything
//! again. The kernel is not asked; only those who share the maps change them, and they take turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipnet::Ipv6Net;
use odin_steer_abi as abi;
use serde::{Deserialize, Serialize};

use crate::keys::{self, Key};
use crate::plan::{Plan, PlannedBinding, PlannedListener, Weight};
use crate::ports::Keys;
use crate::slots::Numbers;
use crate::{Binding, ResumeError, hidden};

/// The maps' content.
pub(crate) struct State {
    /// The index of each of a listener's sockets.
    pub(crate) names: HashMap<String, Vec<u32>>,
    /// The cookie of the socket at an index; [`UNKNOWN`] when it must be written again.
    pub(crate) sockets: HashMap<u32, u64>,
    /// Indices that another process may still steer by; the next plan clears them.
    pub(crate) leftover: Vec<u32>,
    /// The bindings of the last plan, in its order.
    pub(crate) bound: Vec<Bound>,
    /// Where each of them stands.
    pub(crate) places: HashMap<Binding, usize>,
    /// The base of each table of sockets' indices.
    pub(crate) tables: HashMap<Arc<[u32]>, u32>,
    /// Where hidden sockets listen.
    pub(crate) hidden: BTreeSet<SocketAddr>,
    /// Those of them that no plan had yet.
    pub(crate) unplanned: BTreeSet<SocketAddr>,
    /// What is left to the sockets that are bound there.
    pub(crate) passed: BTreeSet<SocketAddr>,
    /// All keys.
    pub(crate) keys: Keys,
    pub(crate) ids: Numbers,
    pub(crate) slots: Numbers,
    pub(crate) indices: Numbers,
    /// Another process still counts on what it handed over, in case this one fails: its sockets stay where they are.
    pub(crate) shared: bool,
}

/// No socket has it.
pub(crate) const UNKNOWN: u64 = 0;

/// A binding of the last plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) binding: Binding,
    pub(crate) listener: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) weights: Vec<Weight>,
    pub(crate) id: u32,
    /// The value of `GROUPS`.
    pub(crate) group: u64,
}

/// The state, as it goes from process to process. Keys follow from the bindings, free numbers from those in use.
#[derive(Serialize, Deserialize)]
struct Handed {
    layout: u32,
    names: BTreeMap<String, Vec<u32>>,
    sockets: BTreeMap<u32, u64>,
    leftover: Vec<u32>,
    bound: Vec<Bound>,
    tables: Vec<(u32, Vec<u32>)>,
    networks: Vec<(u32, Ipv6Net)>,
    hidden: BTreeSet<SocketAddr>,
    passed: BTreeSet<SocketAddr>,
    /// Hidden and passed addresses that have a key, by its id.
    reserved: Vec<(SocketAddr, u32)>,
}

/// As much of it as every layout has.
#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

impl State {
    /// Of empty maps.
    pub(crate) fn new() -> State {
        State {
            names: HashMap::new(),
            sockets: HashMap::new(),
            leftover: Vec::new(),
            bound: Vec::new(),
            places: HashMap::new(),
            tables: HashMap::new(),
            hidden: BTreeSet::new(),
            unplanned: BTreeSet::new(),
            passed: BTreeSet::new(),
            keys: Keys::new(),
            ids: Numbers::new(abi::PASS + 1..abi::MAX_IDS),
            slots: Numbers::new(0..abi::MAX_SLOTS),
            indices: Numbers::new(0..abi::MAX_SOCKETS),
            shared: false,
        }
    }

    /// For another process.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let of = |addresses: &BTreeSet<SocketAddr>, id| {
            let has = |address: &&SocketAddr| self.keys.get(Key::of_address(**address)) == Some(id);
            addresses.iter().filter(has).map(|&address| (address, id)).collect::<Vec<_>>()
        };
        serde_json::to_string(&Handed {
            layout: abi::LAYOUT,
            names: self.names.clone().into_iter().collect(),
            sockets: self.sockets.clone().into_iter().collect(),
            leftover: self.leftover.clone(),
            bound: self.bound.clone(),
            tables: self.tables.iter().map(|(table, base)| (*base, table.to_vec())).collect(),
            networks: self.keys.networks(),
            hidden: self.hidden.clone(),
            passed: self.passed.clone(),
            reserved: [of(&self.hidden, abi::REFUSE), of(&self.passed, abi::PASS)].concat(),
        })
    }

    /// From another process.
    pub(crate) fn from_json(text: &str) -> Result<State, ResumeError> {
        let Layout { layout } = serde_json::from_str(text)?;
        if layout != abi::LAYOUT {
            return Err(ResumeError::Layout { theirs: layout, ours: abi::LAYOUT });
        }
        let handed: Handed = serde_json::from_str(text)?;
        let mut state = State { shared: true, ..State::new() };
        for (place, bound) in handed.bound.iter().enumerate() {
            state.places.insert(bound.binding, place);
            state.ids.occupy(bound.id..bound.id.saturating_add(1));
        }
        let bound = handed.bound.iter().flat_map(|bound| keys::of(&bound.binding).map(|key| (key, bound.id)));
        let reserved = handed.reserved.into_iter().map(|(address, id)| (Key::of_address(address), id));
        state.keys = Keys::known(bound.chain(reserved), &handed.networks);
        for (base, table) in handed.tables {
            state.slots.occupy(base..base.saturating_add(table.len() as u32));
            state.tables.insert(table.into(), base);
        }
        for index in handed.sockets.keys().chain(&handed.leftover) {
            state.indices.occupy(*index..index.saturating_add(1));
        }
        state.names = handed.names.into_iter().collect();
        state.sockets = handed.sockets.into_iter().collect();
        state.leftover = handed.leftover;
        state.bound = handed.bound;
        state.hidden = handed.hidden;
        state.passed = handed.passed;
        Ok(state)
    }

    /// Whether a plan is what is already. Most are: this is told without looking at each port.
    pub(crate) fn is(&self, plan: &Plan<'_>, passed: &BTreeSet<SocketAddr>) -> bool {
        let same_binding = |(planned, bound): (&PlannedBinding, &Bound)| {
            planned.binding == bound.binding && planned.listener == bound.listener && planned.weights == bound.weights
        };
        let same_socket = |(&socket, index): (&BorrowedFd<'_>, &u32)| {
            let cookie = self.sockets.get(index).copied().unwrap_or(UNKNOWN);
            cookie != UNKNOWN && hidden::cookie(socket).is_ok_and(|other| other == cookie)
        };
        let same_listener = |listener: &PlannedListener<'_>| {
            let indices = self.names.get(listener.name).map(Vec::as_slice).unwrap_or_default();
            self.names.contains_key(listener.name)
                && listener.sockets.len() == indices.len()
                && listener.sockets.iter().zip(indices).all(same_socket)
        };
        let sockets = || plan.listeners.iter().flat_map(|listener| &listener.sockets);
        !self.shared
            && self.leftover.is_empty()
            && plan.bindings.len() == self.bound.len()
            && *passed == self.passed
            && plan.bindings.iter().zip(&self.bound).all(same_binding)
            && plan.listeners.len() == self.names.len()
            && plan.listeners.iter().all(same_listener)
            && self.hidden.len() <= sockets().count()
            && {
                let planned: HashSet<_> = sockets().filter_map(|socket| hidden::address(*socket).ok()).collect();
                self.hidden.iter().all(|address| planned.contains(address))
            }
    }

    /// What the last plan had for a binding.
    pub(crate) fn bound(&self, binding: &Binding) -> Option<&Bound> {
        self.places.get(binding).and_then(|&place| self.bound.get(place))
    }

    /// The bindings of the last plan.
    pub(crate) fn bindings(&self) -> Vec<Binding> {
        self.bound.iter().map(|bound| bound.binding).collect()
    }
}
