//! The MAC addresses of the other nodes, with a bit for each in front of them: the programs ask of every packet for a
//! frontend whether another node sent it, and where the bit is not set, none did.
//!
//! Invariant: an address that is in the map has its bit.

use std::collections::BTreeSet;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::records::{MacKey, node_bit};

/// Both maps.
pub(crate) struct Nodes {
    addresses: HashMap<MapData, MacKey, u32>,
    bits: Array<MapData, u64>,
}

impl Nodes {
    /// Opens the maps, and sets the bits of the addresses that are there: what wrote them may not have known of bits.
    pub(crate) fn open(open: impl Fn(&str) -> Result<MapData, MapError>) -> Result<Self, MapError> {
        let mut nodes = Self {
            addresses: Map::HashMap(open(names::NODES)?).try_into()?,
            bits: Map::Array(open(names::NODE_BITS)?).try_into()?,
        };
        for mac in nodes.read()? {
            nodes.set_bit(mac)?;
        }
        Ok(nodes)
    }

    /// The addresses.
    pub(crate) fn read(&self) -> Result<BTreeSet<[u8; 6]>, MapError> {
        self.addresses.keys().map(|key| Ok(key?.mac)).collect()
    }

    pub(crate) fn insert(&mut self, mac: [u8; 6]) -> Result<(), MapError> {
        self.set_bit(mac)?;
        self.addresses.insert(as_key(mac), 1, 0)
    }

    /// Removes an address, and its bit unless another one has it as well.
    pub(crate) fn remove(&mut self, mac: [u8; 6]) -> Result<(), MapError> {
        gone(self.addresses.remove(&as_key(mac)))?;
        let (word, _) = node_bit(mac);
        let left = self.read()?;
        let in_word = left.into_iter().map(node_bit).filter(|(at, _)| *at == word);
        let bits = in_word.fold(0, |bits, (_, bit)| bits | bit);
        self.bits.set(word, bits, 0)
    }

    fn set_bit(&mut self, mac: [u8; 6]) -> Result<(), MapError> {
        let (word, bit) = node_bit(mac);
        let bits = self.bits.get(&word, 0)?;
        self.bits.set(word, bits | bit, 0)
    }
}

fn as_key(mac: [u8; 6]) -> MacKey {
    MacKey { mac, zero: [0; 2] }
}

/// Removing what is not there is what was wanted.
pub(crate) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}
