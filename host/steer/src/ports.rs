//! Which binding each network has on each port, here and in the program's maps. A port with one network stands in one
//! word; one with many has its networks in the longest-prefix map. A port goes from one to the other by that one word,
//! after everything that the word leads to.

use std::collections::{BTreeMap, HashMap};
use std::io;

use ipnet::Ipv6Net;
use odin_steer_abi as abi;

use crate::keys::{self, Key};
use crate::maps::Maps;
use crate::slots::Numbers;

/// All keys, with the id of the binding that each belongs to.
pub(crate) struct Keys {
    ports: HashMap<u16, OnPort>,
    networks: HashMap<Ipv6Net, Interned>,
    indices: Numbers,
}

/// What a port has: never nothing.
enum OnPort {
    One(Ipv6Net, u32),
    /// Two at least.
    Many(BTreeMap<Ipv6Net, u32>),
}

/// A network that ports have as their only one.
struct Interned {
    index: u32,
    ports: usize,
}

impl Keys {
    /// None.
    pub(crate) fn new() -> Keys {
        // An index above 0 keeps a port with one network apart from one with none.
        Keys { ports: HashMap::new(), networks: HashMap::new(), indices: Numbers::new(1..abi::MAX_NETWORKS) }
    }

    /// Those that another process has put into the maps.
    pub(crate) fn known(keys: impl Iterator<Item = (Key, u32)>, networks: &[(u32, Ipv6Net)]) -> Keys {
        let mut known = Keys::new();
        for &(index, network) in networks {
            known.indices.occupy(index..index.saturating_add(1));
            known.networks.insert(network, Interned { index, ports: 0 });
        }
        for (key, id) in keys {
            let on_port = match known.ports.remove(&key.port) {
                None => OnPort::One(key.network, id),
                Some(OnPort::One(network, other)) => OnPort::Many([(network, other), (key.network, id)].into()),
                Some(OnPort::Many(mut networks)) => {
                    networks.insert(key.network, id);
                    OnPort::Many(networks)
                }
            };
            known.ports.insert(key.port, on_port);
        }
        for on_port in known.ports.values() {
            if let OnPort::One(network, _) = on_port
                && let Some(interned) = known.networks.get_mut(network)
            {
                interned.ports += 1;
            }
        }
        known
    }

    /// The networks that ports have as their only one, by their indices.
    pub(crate) fn networks(&self) -> Vec<(u32, Ipv6Net)> {
        self.networks.iter().map(|(&network, interned)| (interned.index, network)).collect()
    }

    /// The binding of a key.
    pub(crate) fn get(&self, key: Key) -> Option<u32> {
        match self.ports.get(&key.port)? {
            OnPort::One(network, id) => (*network == key.network).then_some(*id),
            OnPort::Many(networks) => networks.get(&key.network).copied(),
        }
    }

    /// What came free can be used again.
    pub(crate) fn wake(&mut self) {
        self.indices.wake();
    }

    /// Gives a key to a binding, and tells whose it was.
    pub(crate) fn bind(&mut self, maps: &mut Maps, key: Key, id: u32) -> io::Result<Option<u32>> {
        match self.ports.get_mut(&key.port) {
            Some(OnPort::Many(networks)) => {
                maps.bind(key, id)?;
                Ok(networks.insert(key.network, id))
            }
            Some(&mut OnPort::One(network, other)) if network != key.network => {
                let first = Key { network, ..key };
                maps.bind(first, other)?;
                if let Err(error) = maps.bind(key, id).and_then(|()| maps.set_port(key.port, abi::MANY)) {
                    // Not needed, but in the way of others.
                    let _ = maps.unbind(key).and(maps.unbind(first));
                    return Err(error);
                }
                self.ports.insert(key.port, OnPort::Many([(network, other), (key.network, id)].into()));
                self.release(network);
                Ok(None)
            }
            one => {
                let before = one.map(|_| ());
                let index = self.intern(maps, key.network)?;
                if let Err(error) = maps.set_port(key.port, abi::one(index, id)) {
                    self.release(key.network);
                    return Err(error);
                }
                let before = before.and_then(|()| {
                    self.release(key.network);
                    self.get(key)
                });
                self.ports.insert(key.port, OnPort::One(key.network, id));
                Ok(before)
            }
        }
    }

    /// Takes a key away from its binding.
    pub(crate) fn unbind(&mut self, maps: &mut Maps, key: Key) -> io::Result<()> {
        if self.get(key).is_none() {
            return Ok(());
        }
        match self.ports.get_mut(&key.port) {
            Some(OnPort::Many(networks)) if networks.len() > 2 => {
                maps.unbind(key)?;
                networks.remove(&key.network);
            }
            Some(OnPort::Many(networks)) => {
                let Some((network, id)) =
                    networks.iter().map(|(&network, &id)| (network, id)).find(|(network, _)| *network != key.network)
                else {
                    return Ok(());
                };
                let index = self.intern(maps, network)?;
                if let Err(error) = maps.set_port(key.port, abi::one(index, id)) {
                    self.release(network);
                    return Err(error);
                }
                self.ports.insert(key.port, OnPort::One(network, id));
                // Nobody asks for them any more; should they stay, a later plan overwrites them or restoring removes them.
                maps.unbind(key)?;
                maps.unbind(Key { network, ..key })?;
            }
            _ => {
                maps.set_port(key.port, abi::NONE)?;
                self.ports.remove(&key.port);
                self.release(key.network);
            }
        }
        Ok(())
    }

    /// Writes everything again and removes what is not known.
    pub(crate) fn restore(&self, maps: &mut Maps) -> io::Result<()> {
        for (network, interned) in &self.networks {
            maps.set_network(interned.index, keys::network(*network))?;
        }
        let mut many = HashMap::new();
        for (&port, on_port) in &self.ports {
            if let OnPort::Many(networks) = on_port {
                many.extend(networks.iter().map(|(&network, &id)| (Key { port, network }.prefix(), id)));
            }
        }
        // These first, for the map may be full.
        for prefix in maps.bound()? {
            if !many.contains_key(&prefix) {
                maps.unbind_prefix(prefix)?;
            }
        }
        for (prefix, id) in many {
            maps.bind_prefix(prefix, id)?;
        }
        for port in 0..=u16::MAX {
            let value = match self.ports.get(&port) {
                None => abi::NONE,
                Some(OnPort::Many(_)) => abi::MANY,
                Some(OnPort::One(network, id)) => {
                    self.networks.get(network).map_or(abi::NONE, |interned| abi::one(interned.index, *id))
                }
            };
            if maps.port(port)? != value {
                maps.set_port(port, value)?;
            }
        }
        Ok(())
    }

    /// The index of a network, for one more port.
    fn intern(&mut self, maps: &mut Maps, network: Ipv6Net) -> io::Result<u32> {
        if let Some(interned) = self.networks.get_mut(&network) {
            interned.ports += 1;
            return Ok(interned.index);
        }
        let index = self.indices.take(1).ok_or(io::ErrorKind::StorageFull)?;
        if let Err(error) = maps.set_network(index, keys::network(network)) {
            self.indices.give_back(index..index + 1);
            return Err(error);
        }
        self.networks.insert(network, Interned { index, ports: 1 });
        Ok(index)
    }

    /// One port less has it as its only one.
    fn release(&mut self, network: Ipv6Net) {
        let Some(interned) = self.networks.get_mut(&network) else { return };
        interned.ports -= 1;
        if interned.ports == 0 {
            self.indices.give_back(interned.index..interned.index + 1);
            self.networks.remove(&network);
        }
    }
}
