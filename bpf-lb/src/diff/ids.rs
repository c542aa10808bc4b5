//! Ids for hops and backends.
//!
//! An id in use keeps its meaning, and one that became free is not given out again in the same plan. What a frontend
//! uses that has not changed is only marked as used: a plan costs little more than what changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use landfall_bpf_lb_common::records::{BackendEntry, HopEntry};

use super::Refusal;
use crate::desired::{Backend, Desired, Endpoint, Frontend, Placement, Vip};
use crate::programmed::{mapped, unmapped};
use crate::settings::Settings;

/// Ids for hops and backends: the ones they have, or the lowest that nobody has or had.
pub(super) struct Ids<'a> {
    desired: &'a Desired,
    settings: &'a Settings,
    hops_before: BTreeMap<u16, HopEntry>,
    hop_ids: HashMap<[u8; 16], u16>,
    hops: BTreeMap<u16, HopEntry>,
    hop_from: u16,
    /// Those of before, and new ones.
    backends: BTreeMap<u16, BackendEntry>,
    /// By what makes them the same; made when it is first asked for.
    backend_ids: Option<HashMap<BackendEntry, u16>>,
    /// Lower ids are taken.
    backend_from: u16,
    /// By id: backends of frontends that get what they want, or keep what they have.
    used: Vec<bool>,
    /// Backends whose entries are not yet in the map.
    changed: BTreeSet<u16>,
    /// Those of them that have come.
    fresh: BTreeSet<u16>,
}

/// What ids mean from now on, and what must be written for that.
pub(super) struct Meaning {
    pub(super) hops: BTreeMap<u16, HopEntry>,
    pub(super) hops_before: BTreeMap<u16, HopEntry>,
    pub(super) backends: BTreeMap<u16, BackendEntry>,
    /// Backends to write.
    pub(super) changed: BTreeSet<u16>,
    /// Backends that nobody uses any more; they are among `backends` still.
    pub(super) gone: Vec<u16>,
}

impl Meaning {
    /// What was to go stays, and where it leads to.
    pub(super) fn stays(&mut self, ids: &BTreeSet<u16>) {
        self.gone.retain(|id| !ids.contains(id));
        for id in ids {
            let hop = self.backends.get(id).map(|backend| backend.hop);
            let before = hop.and_then(|hop| Some((hop, *self.hops_before.get(&hop)?)));
            if let Some((hop, entry)) = before {
                self.hops.entry(hop).or_insert(entry);
            }
        }
    }
}

impl<'a> Ids<'a> {
    pub(super) fn new(
        hops: BTreeMap<u16, HopEntry>,
        backends: BTreeMap<u16, BackendEntry>,
        desired: &'a Desired,
        settings: &'a Settings,
    ) -> Self {
        Self {
            desired,
            settings,
            hop_ids: hops.iter().map(|(id, hop)| (hop.address, *id)).collect(),
            hops_before: hops,
            hops: BTreeMap::new(),
            hop_from: 1,
            backends,
            backend_ids: None,
            backend_from: 1,
            used: vec![false; usize::from(u16::MAX) + 1],
            changed: BTreeSet::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// What came of it.
    pub(super) fn into_meaning(self) -> Meaning {
        let ids = self.backends.keys().copied();
        Meaning {
            gone: ids.filter(|id| !self.used[usize::from(*id)]).collect(),
            hops: self.hops,
            hops_before: self.hops_before,
            backends: self.backends,
            changed: self.changed,
        }
    }

    /// These backends stay, and their hops, whether they are wanted or not.
    pub(super) fn retain(&mut self, ids: impl IntoIterator<Item = u16>) {
        for id in ids {
            let Some(backend) = self.backends.get(&id) else {
                continue;
            };
            self.used[usize::from(id)] = true;
            let hop = backend.hop;
            if let Some(before) = self.hops_before.get(&hop) {
                let better = self.hop_entry(unmapped(before.address), before.address, hop);
                let known = if better.ifindex == 0 { *before } else { better };
                self.hops.insert(hop, known);
            }
        }
    }

    /// These backends are wanted just as they are.
    pub(super) fn keep(&mut self, ids: &[u16]) {
        for id in ids {
            let used = &mut self.used[usize::from(*id)];
            if std::mem::replace(used, true) {
                continue;
            }
            let hop = self.backends.get(id).map(|backend| backend.hop);
            let before = hop.and_then(|hop| self.hops_before.get(&hop).map(|entry| (hop, *entry)));
            if let Some((hop, before)) = before
                && !self.hops.contains_key(&hop)
            {
                let entry = self.hop_entry(unmapped(before.address), before.address, hop);
                self.hops.insert(hop, entry);
            }
        }
    }

    /// The backend ids of one frontend, which has had these. Mostly it is them again.
    pub(super) fn resolve(
        &mut self,
        frontend: &Frontend,
        vip: &Vip,
        had: &[u16],
    ) -> Result<BTreeMap<Endpoint, u16>, Refusal> {
        if vip
            .backends
            .keys()
            .any(|endpoint| endpoint.address.is_ipv6() != frontend.address.is_ipv6())
        {
            return Err(Refusal::Family);
        }
        let entries = had.iter();
        let had: HashMap<BackendEntry, u16> = entries
            .filter_map(|id| Some((identity(self.backends.get(id)?), *id)))
            .collect();
        let mut found = BTreeMap::new();
        for (endpoint, backend) in &vip.backends {
            match self.backend(endpoint, backend, &had) {
                Ok(id) => {
                    found.insert(*endpoint, id);
                }
                Err(refusal) => {
                    self.give_up(found.into_values());
                    return Err(refusal);
                }
            }
        }
        for id in found.values() {
            self.used[usize::from(*id)] = true;
        }
        Ok(found)
    }

    /// What is new of a refused frontend is there for others.
    fn give_up(&mut self, ids: impl Iterator<Item = u16>) {
        for id in ids {
            let is_unused = !self.used[usize::from(id)];
            if is_unused
                && self.fresh.remove(&id)
                && let Some(backend) = self.backends.remove(&id)
            {
                self.changed.remove(&id);
                self.backend_from = self.backend_from.min(id);
                if let Some(ids) = &mut self.backend_ids {
                    ids.remove(&identity(&backend));
                }
            }
        }
    }

    fn backend(
        &mut self,
        endpoint: &Endpoint,
        backend: &Backend,
        had: &HashMap<BackendEntry, u16>,
    ) -> Result<u16, Refusal> {
        let entry = self.entry(endpoint, backend)?;
        let id = match had.get(&identity(&entry)) {
            Some(id) => *id,
            None => self.id_of(&entry)?,
        };
        if self.backends.insert(id, entry) != Some(entry) {
            self.changed.insert(id);
        }
        Ok(id)
    }

    /// The id of a backend, its own or a new one.
    fn id_of(&mut self, entry: &BackendEntry) -> Result<u16, Refusal> {
        let known = &self.backends;
        let ids = self.backend_ids.get_or_insert_with(|| {
            let ids = known.iter();
            ids.map(|(id, entry)| (identity(entry), *id)).collect()
        });
        if let Some(id) = ids.get(&identity(entry)) {
            return Ok(*id);
        }
        let id = lowest_free(self.backend_from, self.settings.backends, known);
        let id = id.ok_or(Refusal::Backends)?;
        self.backend_from = id.saturating_add(1);
        ids.insert(identity(entry), id);
        self.fresh.insert(id);
        Ok(id)
    }

    fn entry(&mut self, endpoint: &Endpoint, backend: &Backend) -> Result<BackendEntry, Refusal> {
        let hop = match backend.placement {
            Placement::Local => 0,
            Placement::Remote(node) | Placement::Leaving(node) => self.hop(node)?,
            Placement::Unknown => BackendEntry::UNPLACED,
            Placement::Nobody => BackendEntry::NOBODY,
        };
        let mut address = [0; 16];
        let family = match endpoint.address {
            IpAddr::V4(pod) => {
                address[..4].copy_from_slice(&pod.octets());
                0
            }
            IpAddr::V6(pod) => {
                address = pod.octets();
                BackendEntry::IPV6
            }
        };
        let leaving = match backend.placement {
            Placement::Leaving(_) => BackendEntry::LEAVING,
            Placement::Local | Placement::Remote(_) | Placement::Unknown | Placement::Nobody => 0,
        };
        let pod = backend.pod.bits() << BackendEntry::POD_SHIFT;
        Ok(BackendEntry {
            address,
            port: endpoint.port.to_be_bytes(),
            hop,
            flags: BackendEntry::USED | family | leaving | pod,
        })
    }

    fn hop(&mut self, node: IpAddr) -> Result<u16, Refusal> {
        let address = mapped(node);
        let id = match self.hop_ids.get(&address) {
            Some(id) => *id,
            None => {
                let before = &self.hops_before;
                let id = lowest_free(self.hop_from, self.settings.hops, before);
                let id = id.ok_or(Refusal::Hops)?;
                self.hop_from = id.saturating_add(1);
                id
            }
        };
        self.hop_ids.insert(address, id);
        let entry = self.hop_entry(node, address, id);
        self.hops.entry(id).or_insert(entry);
        Ok(id)
    }

    /// How frames reach a node. One that is not known has an id all the same: tables must not depend
    /// on what one node happens to have resolved. What the maps know of it holds until it is known
    /// better.
    fn hop_entry(&self, node: IpAddr, address: [u8; 16], id: u16) -> HopEntry {
        let before = self.hops_before.get(&id);
        let known = match self.desired.hops.get(&node) {
            Some(Some(hop)) => Some((hop.mac, hop.ifindex)),
            Some(None) => before.map(|hop| (hop.mac, hop.ifindex)),
            None => None,
        };
        let source = |ifindex| Some(self.desired.interfaces.get(&ifindex)?.mac);
        match known.and_then(|(mac, ifindex)| Some((mac, ifindex, source(ifindex)?))) {
            Some((mac, ifindex, source)) => HopEntry {
                mac,
                source,
                ifindex,
                address,
            },
            None => HopEntry {
                address,
                ..HopEntry::default()
            },
        }
    }
}

/// What makes a backend another one. Whether its node's director is going does not: tables remember it by its id.
const fn identity(backend: &BackendEntry) -> BackendEntry {
    BackendEntry {
        flags: backend.flags & !BackendEntry::LEAVING,
        ..*backend
    }
}

/// The lowest id not below `from` that is not in use, in a map of `size` entries.
fn lowest_free<T>(from: u16, size: u32, in_use: &BTreeMap<u16, T>) -> Option<u16> {
    let end = u16::try_from(size.saturating_sub(1)).unwrap_or(u16::MAX);
    (from..=end).find(|id| !in_use.contains_key(id))
}
