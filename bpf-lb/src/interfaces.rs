//! The interfaces by which frames come in: each at the place of its index, and in a map of all, in which one is looked for
//! whose place another one has.

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::records::{INTERFACE_PLACES, InterfaceEntry};

use crate::nodes::gone;

/// Both maps.
pub(crate) struct Interfaces {
    all: HashMap<MapData, u32, InterfaceEntry>,
    places: Array<MapData, InterfaceEntry>,
}

impl Interfaces {
    /// Opens the maps, and has those that are there at their places: what wrote them may not have known of places.
    pub(crate) fn open(open: impl Fn(&str) -> Result<MapData, MapError>) -> Result<Self, MapError> {
        let mut interfaces = Self {
            all: Map::HashMap(open(names::INTERFACES)?).try_into()?,
            places: Map::Array(open(names::INTERFACE_PLACES)?).try_into()?,
        };
        for place in 0..INTERFACE_PLACES {
            let at = interfaces.places.get(&place, 0)?;
            if at.ifindex != 0 && interfaces.all.get(&at.ifindex, 0).is_err() {
                interfaces.places.set(place, InterfaceEntry::default(), 0)?;
            }
        }
        for (ifindex, entry) in interfaces.read()? {
            interfaces.set(ifindex, entry.device, entry.mac)?;
        }
        Ok(interfaces)
    }

    /// All of them, by their indexes.
    pub(crate) fn read(&self) -> Result<Vec<(u32, InterfaceEntry)>, MapError> {
        self.all.iter().collect()
    }

    /// Knows frames that come in by `ifindex` as those of the interface `device`, itself or its bond.
    pub(crate) fn set(&mut self, ifindex: u32, device: u32, mac: [u8; 6]) -> Result<(), MapError> {
        let entry = InterfaceEntry {
            mac,
            zero: [0; 2],
            device,
            ifindex,
        };
        self.all.insert(ifindex, entry, 0)?;
        let place = ifindex % INTERFACE_PLACES;
        let has_it = self.places.get(&place, 0)?.ifindex;
        if has_it == 0 || has_it == ifindex {
            self.places.set(place, entry, 0)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, ifindex: u32) -> Result<(), MapError> {
        let place = ifindex % INTERFACE_PLACES;
        if self.places.get(&place, 0)?.ifindex == ifindex {
            self.places.set(place, InterfaceEntry::default(), 0)?;
        }
        gone(self.all.remove(&ifindex))
    }
}
