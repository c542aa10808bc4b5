//! From what is wanted and what is programmed to the operations in between.
//!
//! Pure: no map is touched here.
//!
//! Invariant: at no point between two operations does a packet find an id that means nothing:
//! hops before backends, backends before tables, tables before the frontends that point to them,
//! and removals the other way round. An id in use keeps its meaning, and an id that became free is
//! not given out again in the same plan. A table is written to only when no packet can be reading
//! it any more. Nothing to change means no operation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, HopEntry, Slot};

use crate::desired::{Backend, Desired, Endpoint, Frontend, Placement, Vip};
use crate::programmed::{Installed, Programmed, mapped, unmapped};
use crate::settings::Settings;
use crate::slots::slots;

/// One write to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write a hop.
    SetHop(u16, HopEntry),
    /// Know a director by its MAC address.
    AddNode([u8; 6]),
    /// Write a backend.
    SetBackend(u16, BackendEntry),
    /// Let every packet on its way pass: tables freed before may be written to after it.
    Settle,
    /// Fill a table that no frontend uses.
    WriteTable(u32, Arc<[Slot]>),
    /// Point a frontend to its table.
    SetFrontend(Frontend, FrontendEntry),
    /// Forget a frontend.
    RemoveFrontend(Frontend),
    /// Forget a backend.
    ClearBackend(u16),
    /// Forget a director.
    RemoveNode([u8; 6]),
    /// Forget a hop.
    ClearHop(u16),
}

/// Why a frontend is not served by the director; its packets pass to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No Maglev table is left.
    Frontends,
    /// No backend id is left.
    Backends,
    /// No hop id is left.
    Hops,
    /// A backend's address is of the other family.
    Family,
}

impl Refusal {
    /// One sentence for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Frontends => "the data path holds no more frontends",
            Self::Backends => "the data path holds no more backends",
            Self::Hops => "the data path holds no more nodes",
            Self::Family => "a backend's address is not of the frontend's family",
        }
    }
}

/// What to do, and what the maps hold afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which they must be carried out.
    pub operations: Vec<Operation>,
    /// The state they lead to.
    pub next: Programmed,
    /// Frontends that could not be programmed.
    pub refused: BTreeMap<Frontend, Refusal>,
}

/// Plans the way from `now` to `desired`. Of the frontends that are not wanted any more, those of
/// `draining` stay as they are, and take no new connections.
#[must_use]
pub fn plan(
    now: &Programmed,
    desired: &Desired,
    draining: &BTreeSet<Frontend>,
    settings: &Settings,
) -> Changes {
    let mut ids = Ids::new(now, desired, settings);
    let going: BTreeMap<Frontend, Installed> = draining
        .iter()
        .filter(|frontend| !desired.frontends.contains_key(frontend))
        .filter_map(|frontend| Some((*frontend, now.frontends.get(frontend)?.clone())))
        .collect();
    ids.retain(going.values());
    let mut refused = BTreeMap::new();
    let mut resolved = BTreeMap::new();
    for (frontend, vip) in &desired.frontends {
        let room = resolved.len() < settings.frontends as usize;
        let ids = if room {
            ids.resolve(frontend, vip)
        } else {
            Err(Refusal::Frontends)
        };
        match ids {
            Ok(ids) => {
                resolved.insert(*frontend, ids);
            }
            Err(refusal) => {
                refused.insert(*frontend, refusal);
            }
        }
    }
    let mut next = Programmed {
        hops: ids.hops,
        nodes: nodes(now, desired, !going.is_empty(), settings),
        backends: ids.backends,
        frontends: BTreeMap::new(),
        free_tables: now.free_tables.clone(),
        just_freed: now.just_freed,
    };
    let mut operations = Vec::new();
    add_what_they_lead_to(now, &next, &mut operations);
    for (frontend, mut installed) in going {
        let before = installed.entry;
        installed.entry.flags |= FrontendEntry::DRAINING;
        installed.entry.flags &= !FrontendEntry::LEARNING;
        if installed.entry != before {
            operations.push(Operation::SetFrontend(frontend, installed.entry));
        }
        next.frontends.insert(frontend, installed);
    }
    for (frontend, ids) in resolved {
        let vip = &*desired.frontends[&frontend].sparing(&desired.away);
        let before = now.frontends.get(&frontend);
        match install(vip, &ids, before, &mut next, settings, |step| {
            operations.push(step.of(frontend))
        }) {
            Ok(installed) => {
                next.frontends.insert(frontend, installed);
            }
            Err(refusal) => {
                refused.insert(frontend, refusal);
            }
        }
    }
    remove_what_is_left(now, &mut next, &mut operations);
    Changes {
        operations,
        next,
        refused,
    }
}

/// The MAC addresses of the other nodes. As long as some are not known yet, or some frontend is going,
/// none is forgotten.
fn nodes(
    now: &Programmed,
    desired: &Desired,
    is_going: bool,
    settings: &Settings,
) -> BTreeSet<[u8; 6]> {
    let known = desired.hops.values().flatten().map(|hop| hop.mac);
    let mut nodes: BTreeSet<[u8; 6]> = known.take(settings.hops as usize).collect();
    if is_going || desired.hops.values().any(Option::is_none) {
        nodes.extend(&now.nodes);
    }
    nodes
}

/// Additions that no packet can see yet.
fn add_what_they_lead_to(now: &Programmed, next: &Programmed, operations: &mut Vec<Operation>) {
    for (id, hop) in &next.hops {
        if now.hops.get(id) != Some(hop) {
            operations.push(Operation::SetHop(*id, *hop));
        }
    }
    operations.extend(
        next.nodes
            .difference(&now.nodes)
            .map(|mac| Operation::AddNode(*mac)),
    );
    for (id, backend) in &next.backends {
        if now.backends.get(id) != Some(backend) {
            operations.push(Operation::SetBackend(*id, *backend));
        }
    }
}

fn remove_what_is_left(now: &Programmed, next: &mut Programmed, operations: &mut Vec<Operation>) {
    for (frontend, installed) in &now.frontends {
        if !next.frontends.contains_key(frontend) {
            operations.push(Operation::RemoveFrontend(*frontend));
            if installed.entry.table != FrontendEntry::NO_TABLE {
                free(next, installed.entry.table);
            }
        }
    }
    let gone = now
        .backends
        .keys()
        .filter(|id| !next.backends.contains_key(id));
    operations.extend(gone.map(|id| Operation::ClearBackend(*id)));
    operations.extend(
        now.nodes
            .difference(&next.nodes)
            .map(|mac| Operation::RemoveNode(*mac)),
    );
    let gone = now.hops.keys().filter(|id| !next.hops.contains_key(id));
    operations.extend(gone.map(|id| Operation::ClearHop(*id)));
}

/// Gives a table back.
fn free(next: &mut Programmed, table: u32) {
    next.free_tables.push_back(table);
    next.just_freed += 1;
}

/// Takes the table that has been unused the longest, once no packet reads it any more.
fn take(next: &mut Programmed, step: &mut impl FnMut(Step)) -> Option<u32> {
    let table = next.free_tables.pop_front()?;
    if next.free_tables.len() < next.just_freed {
        step(Step::Settle);
        next.just_freed = 0;
    }
    Some(table)
}

/// An operation on one frontend, before its name is put in.
enum Step {
    Settle,
    Write(u32, Arc<[Slot]>),
    Set(FrontendEntry),
}

impl Step {
    fn of(self, frontend: Frontend) -> Operation {
        match self {
            Self::Settle => Operation::Settle,
            Self::Write(table, slots) => Operation::WriteTable(table, slots),
            Self::Set(entry) => Operation::SetFrontend(frontend, entry),
        }
    }
}

/// Brings one frontend to what `vip` says.
fn install(
    vip: &Vip,
    ids: &BTreeMap<Endpoint, u16>,
    before: Option<&Installed>,
    next: &mut Programmed,
    settings: &Settings,
    mut step: impl FnMut(Step),
) -> Result<Installed, Refusal> {
    let is_current = |before: &&Installed| {
        before.vip.as_ref() == Some(vip) && before.entry.flags & FrontendEntry::DRAINING == 0
    };
    if let Some(before) = before.filter(is_current) {
        return Ok(before.clone());
    }
    // The kernel has served it until now.
    let learning = before.map_or(FrontendEntry::LEARNING, |before| {
        before.entry.flags & FrontendEntry::LEARNING
    });
    let affinity = if vip.client_ip_affinity {
        FrontendEntry::CLIENT_IP
    } else {
        0
    };
    let flags = learning | affinity;
    let old = before.map(|before| &*before.slots);
    let wanted = slots(vip, ids, old, settings.table_slots);
    let table_before = before.map_or(FrontendEntry::NO_TABLE, |before| before.entry.table);
    let (table, slots) = match before {
        Some(before) if *before.slots == *wanted => (table_before, Arc::clone(&before.slots)),
        _ if wanted.is_empty() => (FrontendEntry::NO_TABLE, Arc::from(wanted)),
        _ => {
            let table = take(next, &mut step).ok_or(Refusal::Frontends)?;
            let slots: Arc<[Slot]> = wanted.into();
            step(Step::Write(table, Arc::clone(&slots)));
            (table, slots)
        }
    };
    let entry = FrontendEntry { table, flags };
    if before.is_none_or(|before| before.entry != entry) {
        step(Step::Set(entry));
    }
    if table_before != table && table_before != FrontendEntry::NO_TABLE {
        free(next, table_before);
    }
    Ok(Installed {
        entry,
        slots,
        vip: Some(vip.clone()),
    })
}

/// Ids for hops and backends: the ones they have, or the lowest that nobody has or had.
struct Ids<'a> {
    now: &'a Programmed,
    desired: &'a Desired,
    settings: &'a Settings,
    hop_ids: BTreeMap<[u8; 16], u16>,
    backend_ids: BTreeMap<BackendEntry, u16>,
    hops: BTreeMap<u16, HopEntry>,
    backends: BTreeMap<u16, BackendEntry>,
    /// Lower ids are taken.
    hop_from: u16,
    backend_from: u16,
}

impl<'a> Ids<'a> {
    fn new(now: &'a Programmed, desired: &'a Desired, settings: &'a Settings) -> Self {
        Self {
            now,
            desired,
            settings,
            hop_ids: now
                .hops
                .iter()
                .map(|(id, hop)| (hop.address, *id))
                .collect(),
            backend_ids: now
                .backends
                .iter()
                .map(|(id, backend)| (identity(backend), *id))
                .collect(),
            hops: BTreeMap::new(),
            backends: BTreeMap::new(),
            hop_from: 1,
            backend_from: 1,
        }
    }

    /// Everything that these frontends lead to stays, whether it is wanted or not.
    fn retain<'i>(&mut self, going: impl Iterator<Item = &'i Installed>) {
        for id in going.flat_map(|installed| ids_of(&installed.slots)) {
            let Some(backend) = self.now.backends.get(&id) else {
                continue;
            };
            self.backends.insert(id, *backend);
            if let Some(hop) = self.now.hops.get(&backend.hop) {
                let better = self.hop_entry(unmapped(hop.address), hop.address, backend.hop);
                let known = if better.ifindex == 0 { *hop } else { better };
                self.hops.insert(backend.hop, known);
            }
        }
    }

    /// The backend ids of one frontend.
    fn resolve(
        &mut self,
        frontend: &Frontend,
        vip: &Vip,
    ) -> Result<BTreeMap<Endpoint, u16>, Refusal> {
        if vip
            .backends
            .keys()
            .any(|endpoint| endpoint.address.is_ipv6() != frontend.address.is_ipv6())
        {
            return Err(Refusal::Family);
        }
        vip.backends
            .iter()
            .map(|(endpoint, backend)| Ok((*endpoint, self.backend(endpoint, backend)?)))
            .collect()
    }

    fn backend(&mut self, endpoint: &Endpoint, backend: &Backend) -> Result<u16, Refusal> {
        let hop = match backend.placement {
            Placement::Local => 0,
            Placement::Remote(node) | Placement::Leaving(node) => self.hop(node)?,
            Placement::Unknown => BackendEntry::UNPLACED,
            Placement::Nobody => BackendEntry::NOBODY,
        };
        let mut address = [0; 16];
        let flags = match endpoint.address {
            IpAddr::V4(pod) => {
                address[..4].copy_from_slice(&pod.octets());
                BackendEntry::USED
            }
            IpAddr::V6(pod) => {
                address = pod.octets();
                BackendEntry::USED | BackendEntry::IPV6
            }
        };
        let entry = BackendEntry {
            address,
            port: endpoint.port.to_be_bytes(),
            hop,
            flags: flags | (backend.pod.bits() << BackendEntry::POD_SHIFT),
        };
        let id = match self.backend_ids.get(&entry) {
            Some(id) => *id,
            None => {
                let id = lowest_free(
                    self.backend_from,
                    self.settings.backends,
                    &self.now.backends,
                );
                let id = id.ok_or(Refusal::Backends)?;
                self.backend_from = id.saturating_add(1);
                id
            }
        };
        self.backend_ids.insert(entry, id);
        let leaving = match backend.placement {
            Placement::Leaving(_) => BackendEntry::LEAVING,
            Placement::Local | Placement::Remote(_) | Placement::Unknown | Placement::Nobody => 0,
        };
        let flags = entry.flags | leaving;
        self.backends.insert(id, BackendEntry { flags, ..entry });
        Ok(id)
    }

    fn hop(&mut self, node: IpAddr) -> Result<u16, Refusal> {
        let address = mapped(node);
        let id = match self.hop_ids.get(&address) {
            Some(id) => *id,
            None => {
                let id = lowest_free(self.hop_from, self.settings.hops, &self.now.hops);
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
        let before = self.now.hops.get(&id);
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

/// Ids that appear in the tables of `programmed`.
#[must_use]
pub fn ids_in_use(programmed: &Programmed) -> BTreeSet<u16> {
    let tables = programmed.frontends.values();
    tables
        .flat_map(|installed| ids_of(&installed.slots))
        .collect()
}

/// Ids that appear in a table.
pub(crate) fn ids_of(slots: &[Slot]) -> BTreeSet<u16> {
    let all = slots.iter();
    all.flat_map(|slot| [slot.current, slot.previous[0], slot.previous[1]])
        .filter(|id| *id != 0)
        .collect()
}

#[cfg(test)]
mod tests;
