//! The program's maps. Nothing here knows what is in them; every change is one system call that connections see whole or
//! not at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::lpm_trie::{self, LpmTrie};
use aya::maps::{Array, Map, MapData, MapError, SockMap};
use odin_steer_abi as abi;

use crate::keys::Key;

/// A key of `BINDINGS`: how many of the bits count.
type Prefix = (u32, abi::Key);

/// The maps, in user space's hands.
pub(crate) struct Maps {
    ports: Array<MapData, u64>,
    networks: Array<MapData, abi::Network>,
    bindings: LpmTrie<MapData, abi::Key, u32>,
    groups: Array<MapData, u64>,
    slots: Array<MapData, u32>,
    sockets: SockMap<MapData>,
    stats: Array<MapData, u64>,
    /// The same maps once more: aya does not give out the descriptors of typed maps.
    descriptors: Vec<OwnedFd>,
    /// Changes made so far.
    updates: usize,
}

impl Maps {
    /// The maps of a freshly loaded object.
    pub(crate) fn loaded(object: &mut Ebpf) -> Result<Maps, MapError> {
        let maps = abi::MAPS.map(|name| object.take_map(name));
        let mut descriptors = Vec::with_capacity(maps.len());
        for map in maps {
            let map = map.ok_or(MapError::ElementNotFound)?;
            let (Map::LpmTrie(data) | Map::Array(data) | Map::SockMap(data)) = map else {
                return Err(MapError::InvalidMapType { map_type: 0 });
            };
            descriptors.push(data.fd().as_fd().try_clone_to_owned()?);
        }
        Maps::open(descriptors)
    }

    /// The maps behind descriptors, in the order of [`abi::MAPS`].
    pub(crate) fn open(descriptors: Vec<OwnedFd>) -> Result<Maps, MapError> {
        let map = |at: usize| {
            let descriptor = descriptors.get(at).ok_or(MapError::ElementNotFound)?;
            Map::from_map_data(MapData::from_fd(descriptor.try_clone()?)?)
        };
        Ok(Maps {
            ports: map(0)?.try_into()?,
            networks: map(1)?.try_into()?,
            bindings: map(2)?.try_into()?,
            groups: map(3)?.try_into()?,
            slots: map(4)?.try_into()?,
            sockets: map(5)?.try_into()?,
            stats: map(6)?.try_into()?,
            descriptors,
            updates: 0,
        })
    }

    /// Duplicates, in the order of [`abi::MAPS`].
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        self.descriptors.iter().map(OwnedFd::try_clone).collect()
    }

    /// Changes made so far.
    pub(crate) fn updates(&self) -> usize {
        self.updates
    }

    pub(crate) fn port(&self, port: u16) -> io::Result<u64> {
        self.ports.get(&u32::from(port), 0).map_err(system)
    }

    pub(crate) fn set_port(&mut self, port: u16, value: u64) -> io::Result<()> {
        self.updates += 1;
        self.ports.set(u32::from(port), value, 0).map_err(system)
    }

    pub(crate) fn set_network(&mut self, index: u32, network: abi::Network) -> io::Result<()> {
        self.updates += 1;
        self.networks.set(index, network, 0).map_err(system)
    }

    pub(crate) fn bind(&mut self, key: Key, id: u32) -> io::Result<()> {
        self.bind_prefix(key.prefix(), id)
    }

    pub(crate) fn bind_prefix(&mut self, (bits, data): Prefix, id: u32) -> io::Result<()> {
        self.updates += 1;
        self.bindings.insert(&lpm_trie::Key::new(bits, data), id, 0).map_err(system)
    }

    pub(crate) fn unbind(&mut self, key: Key) -> io::Result<()> {
        self.unbind_prefix(key.prefix())
    }

    pub(crate) fn unbind_prefix(&mut self, (bits, data): Prefix) -> io::Result<()> {
        self.updates += 1;
        present(self.bindings.remove(&lpm_trie::Key::new(bits, data)))
    }

    /// Every prefix that is bound, by whomever.
    pub(crate) fn bound(&self) -> io::Result<Vec<Prefix>> {
        self.bindings.keys().map(|key| key.map(|key| (key.prefix_len(), key.data())).map_err(system)).collect()
    }

    pub(crate) fn group(&self, id: u32) -> io::Result<u64> {
        self.groups.get(&id, 0).map_err(system)
    }

    pub(crate) fn set_group(&mut self, id: u32, group: u64) -> io::Result<()> {
        self.updates += 1;
        self.groups.set(id, group, 0).map_err(system)
    }

    pub(crate) fn set_slot(&mut self, slot: u32, socket: u32) -> io::Result<()> {
        self.updates += 1;
        self.slots.set(slot, socket, 0).map_err(system)
    }

    pub(crate) fn set_socket(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.updates += 1;
        self.sockets.set(index, &socket, 0).map_err(system)
    }

    pub(crate) fn clear_socket(&mut self, index: u32) -> io::Result<()> {
        self.updates += 1;
        present(self.sockets.clear_index(&index))
    }

    /// How often the program has steered for an id, or dropped.
    pub(crate) fn stat(&self, id: u32, steered: bool) -> io::Result<u64> {
        self.stats.get(&abi::stat(id, steered), 0).map_err(system)
    }

    pub(crate) fn reset_stats(&mut self, id: u32) -> io::Result<()> {
        for steered in [true, false] {
            self.updates += 1;
            self.stats.set(abi::stat(id, steered), 0, 0).map_err(system)?;
        }
        Ok(())
    }
}

/// A removal that finds nothing has done its work: the kernel takes a closed socket out by itself, and tells that by
/// EINVAL.
fn present(removed: Result<(), MapError>) -> io::Result<()> {
    match removed.map_err(system) {
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | EINVAL)) => Ok(()),
        removed => removed,
    }
}

const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// What the kernel said, without aya's words around it.
fn system(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        MapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
