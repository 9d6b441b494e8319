//! The addresses of listeners: read from one text or a list, and seen not to be in each other's way.
//! Must never compare every address with every other: a file may have tens of thousands.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use odin_steer::{Binding, Ports};
use serde_json::json;

use super::decoder::Field;
use super::node::Value;
use super::readers::parsed;
use super::report::{KeyPath, Report};
use super::schema::SteeringMode;
use super::shapes::{Shape, described};
use super::units;

/// An address with its place in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(super) binding: Binding,
    line: u32,
    path: KeyPath,
}

/// `"0.0.0.0:80"` or `["0.0.0.0:80", "192.0.2.0/24:5000-5999"]`.
pub(super) fn shape() -> Shape<Vec<Placed>> {
    let form = || {
        let pattern = r"^(\[[^\]\s]+\]|[0-9./]+):([0-9]{1,5}(-[0-9]{1,5})?|\*)$";
        let one = json!({ "type": "string", "pattern": pattern });
        let many = json!({ "type": "array", "minItems": 1, "items": one });
        described(json!({ "anyOf": [one, many] }), "IP:port, IP:port-port, prefix:port or prefix:*, or a list of them")
    };
    Shape::read_only(form, |field, _| read(field))
}

/// None when nothing is left of it.
fn read(field: Field<'_>) -> Option<Vec<Placed>> {
    let fields = match field.node.value {
        Value::List(ref items) if items.is_empty() => {
            field.fail(r#"a listener needs an address; add one, for example "127.0.0.1:8080""#);
            return None;
        }
        Value::List(_) => field.list("addresses")?,
        _ => vec![field],
    };
    let placed = |field: Field<'_>| {
        let binding = field.read(parsed("IP:port", units::binding))?;
        Some(Placed { binding, line: field.node.line, path: field.path })
    };
    let placed: Vec<Placed> = fields.into_iter().filter_map(placed).collect();
    (!placed.is_empty()).then_some(placed)
}

/// Whether both want the same port of the same network. A longer prefix goes before a shorter one, and a port before
/// `*`, so those are not in each other's way.
pub(crate) fn collide(a: &Binding, b: &Binding) -> bool {
    a.mapped() == b.mapped()
        && match (a.ports(), b.ports()) {
            (Ports::Any, Ports::Any) => true,
            (Ports::Range(..), Ports::Range(..)) => a.overlaps(b),
            _ => false,
        }
}

/// Whether a listener's address would take connections that are meant for the admin pages. One for every port (`*`) is
/// not asked: whoever writes it means the ports that nothing else in the config names.
pub(crate) fn takes_admin(binding: &Binding, admin: SocketAddr) -> bool {
    binding.ports() != Ports::Any && binding.overlaps(&Binding::from(admin))
}

/// Reports the addresses that cannot be served beside the others; `listeners` has the addresses of each in turn.
/// Answers the indices of the listeners that want what is taken.
pub(super) fn check(
    listeners: &[&[Placed]],
    admin: Option<SocketAddr>,
    steering: SteeringMode,
    report: &Report,
) -> BTreeSet<usize> {
    let all = || listeners.iter().enumerate().flat_map(|(owner, placed)| placed.iter().map(move |one| (owner, one)));
    for (_, placed) in all() {
        let binding = placed.binding;
        if let Some(admin) = admin.filter(|admin| takes_admin(&binding, *admin)) {
            let fault = match binding == Binding::from(admin) {
                true => format!("{binding} is where the admin pages are; change the port"),
                false => format!("{binding} takes {admin}, where the admin pages are; change the ports"),
            };
            report.about(placed.line, &placed.path, format!("{fault}, or the top level's `admin`"));
        }
        if steering == SteeringMode::Bind && binding.socket_addresses().is_none() {
            let message = "cannot be bound by a socket; set the top level's `steering` to \"bpf\" or \"auto\", \
                           or name each address with its ports";
            report.about(placed.line, &placed.path, format!("{binding} {message}"));
        }
    }
    collisions(all().collect(), report)
}

/// Sorts the addresses of each network by their ports: what wants the same ports stands side by side.
fn collisions(all: Vec<(usize, &Placed)>, report: &Report) -> BTreeSet<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    let key = |at: usize| {
        let binding = &all[at].1.binding;
        let (kind, first, last) = match binding.ports() {
            Ports::Any => (0, 0, 0),
            Ports::Range(first, last) => (1, first, last),
        };
        (binding.mapped(), kind, first, Reverse(last), at)
    };
    order.sort_unstable_by_key(|at| key(*at));
    let mut found = Vec::new();
    // Of those seen of this network, the one that goes on for the most ports.
    let mut widest: Option<usize> = None;
    for at in order {
        let (owner, this) = all[at];
        let Some(other) = widest.filter(|other| conflict(all[*other], (owner, this))) else {
            widest = Some(widest.filter(|other| reaches_further(&all[*other].1.binding, &this.binding)).unwrap_or(at));
            continue;
        };
        found.push((other.max(at), other.min(at)));
        if !reaches_further(&all[other].1.binding, &this.binding) {
            widest = Some(at);
        }
    }
    // In the order of the file, as a reader goes through it; a wide range is told of once.
    found.sort_unstable();
    found.dedup_by_key(|(at, _)| *at);
    found.iter().for_each(|(at, first)| tell(all[*first], all[*at], report));
    found.into_iter().map(|(at, _)| all[at].0).collect()
}

/// One listener has no use for two ports of the system's choice at one address either; two listeners do.
fn conflict(a: (usize, &Placed), b: (usize, &Placed)) -> bool {
    collide(&a.1.binding, &b.1.binding) || (a.0 == b.0 && a.1.binding == b.1.binding)
}

fn reaches_further(a: &Binding, b: &Binding) -> bool {
    let last = |binding: &Binding| match binding.ports() {
        Ports::Any => u16::MAX,
        Ports::Range(_, last) => last,
    };
    let same = a.mapped() == b.mapped() && (a.ports() == Ports::Any) == (b.ports() == Ports::Any);
    // Port 0 reaches nowhere: only its next neighbour can be the same listener's.
    same && last(a) > 0 && last(a) >= last(b)
}

fn tell((first_owner, first): (usize, &Placed), (owner, second): (usize, &Placed), report: &Report) {
    let (other, this, line) = (first.binding, second.binding, first.line);
    let message = match (owner == first_owner, this == other) {
        (true, true) => format!("{this} is in the list already, on line {line}; remove one"),
        (true, false) => format!("{this} has ports that {other} on line {line} has already; leave each port to one"),
        (false, true) => format!("{this} is taken by the listener on line {line}; change one"),
        (false, false) => format!("{this} has ports that {other}, of the listener on line {line}, takes; change one"),
    };
    report.about(second.line, &second.path, message);
}
