//! From what is wanted and what is programmed to the operations in between.
//!
//! Pure: what touches a map is the [`Target`] alone, which in tests is memory.
//!
//! Invariant: at no point between two operations does a packet find an id that means nothing:
//! hops before backends, backends before tables, tables before the frontends that point to them,
//! and removals the other way round. An id in use keeps its meaning, and an id that became free is
//! not given out again in the same plan. A table is written to only when no packet can be reading
//! it any more. Nothing to change means no operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_bpf_lb_common::records::{BackendEntry, FrontendEntry, HopEntry, Slot};

use crate::desired::{Desired, Endpoint, Frontend, Vip};
use crate::programmed::{Installed, Programmed, entry_of};
use crate::room::{Table, Taken};
use crate::settings::Settings;
use crate::slots::{size, slots};
use crate::tables::Tables;
use ids::{Ids, Meaning};

mod ids;

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
    WriteTable(Table, Vec<Slot>),
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
    /// There are as many frontends as the maps hold.
    Frontends,
    /// There is no room for a table as large as its backends need.
    Tables,
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
            Self::Tables => "the data path has no room for a table of its backends",
            Self::Backends => "the data path holds no more backends",
            Self::Hops => "the data path holds no more nodes",
            Self::Family => "a backend's address is not of the frontend's family",
        }
    }
}

/// The maps as a plan finds and changes them, one operation at a time: what all tables say together is too much to be
/// held in memory at once.
pub trait Target {
    /// Why an operation cannot be carried out.
    type Error;

    /// What a table says.
    fn slots(&self, table: Table) -> Vec<Slot>;

    /// Carries out one operation.
    ///
    /// # Errors
    /// Then the plan ends there.
    fn carry_out(&mut self, operation: Operation) -> Result<(), Self::Error>;
}

/// What was done, and what the maps hold afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Operations carried out.
    pub operations: usize,
    /// The state they led to.
    pub next: Programmed,
    /// Frontends that could not be programmed. One that was served keeps its table and its connections, as one that is
    /// going does.
    pub refused: BTreeMap<Frontend, Refusal>,
}

/// Brings `target` from `now` to `desired`. Of the frontends that are not wanted any more, or have no backends, those of
/// `draining` stay as they are, and take no new connections.
///
/// # Errors
/// That of the first operation that failed.
pub fn carry_out<T: Target>(
    now: Programmed,
    desired: &Desired,
    draining: &BTreeSet<Frontend>,
    settings: &Settings,
    target: &mut T,
) -> Result<Changes, T::Error> {
    let mut counted = Counted {
        target,
        operations: 0,
    };
    let target = &mut counted;
    let nodes_before = now.nodes;
    let (mut frontends, mut tables) = (now.frontends, now.tables);
    let mut ids = Ids::new(now.hops, now.backends, desired, settings);
    let is_unwanted = |frontend: &&Frontend| !desired.serves(frontend);
    let mut going: BTreeSet<Frontend> = draining.iter().filter(is_unwanted).copied().collect();
    going.retain(|frontend| frontends.contains_key(frontend));
    let nodes = nodes(&nodes_before, desired, !going.is_empty(), settings);
    for frontend in &going {
        ids.retain(ids_of(&target.slots(frontends[frontend].table())));
    }
    let mut refused = BTreeMap::new();
    let mut resolved = Vec::new();
    let ranked = Ranked::new(&frontends, desired);
    // One that is wanted, and going for want of endpoints, keeps its place for when they come back.
    let is_wanted = |frontend: &&Frontend| desired.frontends.contains_key(frontend);
    let placed = ranked.current.len() + going.iter().filter(is_wanted).count();
    let mut room = (settings.frontends as usize).saturating_sub(placed);
    // Those that are going have their entries until they have gone.
    let mut entries = [false, true].map(|of_v6| {
        let of_family = |frontend: &&Frontend| frontend.address.is_ipv6() == of_v6;
        frontends.keys().filter(of_family).count()
    });
    for installed in &ranked.current {
        ids.keep(&installed.backends);
    }
    let stays = |(frontend, _): &(&Frontend, Arc<Vip>)| !going.contains(frontend);
    let others: Vec<_> = ranked.others.into_iter().filter(stays).collect();
    for (frontend, vip) in others {
        let served = frontends.get(frontend);
        let was_refused = served.is_some_and(|one| one.refused.as_ref() == Some(&vip));
        let entries = &mut entries[usize::from(frontend.address.is_ipv6())];
        let has_entry = served.is_some() || *entries < settings.frontend_entries() as usize;
        let found = if room == 0 || !has_entry {
            Err(Refusal::Frontends)
        } else if was_refused && !tables.room().has(size(&vip)) {
            // Nothing has changed since: its table need not be computed to find that out.
            Err(Refusal::Tables)
        } else if served.is_some() || tables.room().may_have_for_another(size(&vip)) {
            let had = served.map_or(&[][..], |one| &one.backends);
            ids.resolve(frontend, &vip, had)
        } else {
            Err(Refusal::Tables)
        };
        match found {
            Ok(found) => {
                room -= 1;
                *entries += usize::from(served.is_none());
                resolved.push((*frontend, vip, found));
            }
            Err(refusal) => {
                refused.insert(*frontend, refusal);
                if let Some(table) = frontends.get(frontend).and_then(Installed::table) {
                    ids.retain(ids_of(&target.slots(Some(table))));
                    going.insert(*frontend);
                }
            }
        }
    }
    let mut meaning = ids.into_meaning();
    add_what_they_lead_to(&meaning, &nodes_before, &nodes, target)?;
    for (frontend, vip, ids) in resolved {
        let before = frontends.get(&frontend);
        let installed = install(frontend, &vip, &ids, before, &mut tables, target)?;
        if let Some(installed) = installed {
            frontends.insert(frontend, installed);
            continue;
        }
        refused.insert(frontend, Refusal::Tables);
        if let Some(before) = frontends.get_mut(&frontend)
            && let Some(table) = before.table()
        {
            before.refused = Some(vip);
            meaning.stays(&ids_of(&target.slots(Some(table))));
            going.insert(frontend);
        }
    }
    for frontend in &going {
        if let Some(installed) = frontends.get_mut(frontend) {
            keep(*frontend, installed, target)?;
        }
    }
    let is_left = |frontend: &Frontend| {
        let is_wanted = desired.frontends.contains_key(frontend) && !refused.contains_key(frontend);
        !is_wanted && !going.contains(frontend)
    };
    let left: Vec<Frontend> = frontends.keys().copied().filter(is_left).collect();
    for frontend in left {
        target.carry_out(Operation::RemoveFrontend(frontend))?;
        let installed = frontends.remove(&frontend);
        if let Some(table) = installed.as_ref().and_then(Installed::table) {
            tables.release(table);
        }
    }
    remove_what_they_led_to(&mut meaning, &nodes_before, &nodes, target)?;
    Ok(Changes {
        operations: counted.operations,
        next: Programmed {
            hops: meaning.hops,
            nodes,
            backends: meaning.backends,
            frontends,
            tables,
        },
        refused,
    })
}

/// A target, and how much was done to it.
struct Counted<'t, T> {
    target: &'t mut T,
    operations: usize,
}

impl<T: Target> Counted<'_, T> {
    fn slots(&self, table: Option<Table>) -> Vec<Slot> {
        table.map_or_else(Vec::new, |table| self.target.slots(table))
    }

    fn carry_out(&mut self, operation: Operation) -> Result<(), T::Error> {
        self.operations += 1;
        self.target.carry_out(operation)
    }
}

/// The wanted frontends in the order in which they get what there is: first whoever has it already, so that nobody loses
/// anything to another one that comes.
struct Ranked<'f, 'd> {
    /// Those that are as they are wanted.
    current: Vec<&'f Installed>,
    /// The others, as they are wanted now.
    others: Vec<(&'d Frontend, Arc<Vip>)>,
}

impl<'f, 'd> Ranked<'f, 'd> {
    fn new(frontends: &'f BTreeMap<Frontend, Installed>, desired: &'d Desired) -> Self {
        let (mut current, mut served, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (frontend, vip) in &desired.frontends {
            let vip = vip.sparing(&desired.away);
            let is_current =
                |before: &Installed| !before.is_draining() && before.vip.as_ref() == Some(&vip);
            match frontends.get(frontend) {
                Some(before) if is_current(before) => current.push(before),
                Some(_) => served.push((frontend, vip)),
                None => others.push((frontend, vip)),
            }
        }
        served.append(&mut others);
        Self {
            current,
            others: served,
        }
    }
}

/// Has a frontend keep what it has, and take nothing new.
fn keep<T: Target>(
    frontend: Frontend,
    installed: &mut Installed,
    target: &mut Counted<'_, T>,
) -> Result<(), T::Error> {
    let before = installed.entry;
    installed.entry.flags |= FrontendEntry::DRAINING;
    installed.entry.flags &= !FrontendEntry::LEARNING;
    if installed.entry != before {
        target.carry_out(Operation::SetFrontend(frontend, installed.entry))?;
    }
    Ok(())
}

/// The MAC addresses of the other nodes. As long as some are not known yet, or some frontend is going,
/// none is forgotten.
fn nodes(
    before: &BTreeSet<[u8; 6]>,
    desired: &Desired,
    is_going: bool,
    settings: &Settings,
) -> BTreeSet<[u8; 6]> {
    let known = desired.hops.values().flatten().map(|hop| hop.mac);
    let mut nodes: BTreeSet<[u8; 6]> = known.take(settings.hops as usize).collect();
    if is_going || desired.hops.values().any(Option::is_none) {
        nodes.extend(before);
    }
    nodes
}

/// Additions that no packet can see yet.
fn add_what_they_lead_to<T: Target>(
    meaning: &Meaning,
    nodes_before: &BTreeSet<[u8; 6]>,
    nodes: &BTreeSet<[u8; 6]>,
    target: &mut Counted<'_, T>,
) -> Result<(), T::Error> {
    for (id, hop) in &meaning.hops {
        if meaning.hops_before.get(id) != Some(hop) {
            target.carry_out(Operation::SetHop(*id, *hop))?;
        }
    }
    for mac in nodes.difference(nodes_before) {
        target.carry_out(Operation::AddNode(*mac))?;
    }
    for id in &meaning.changed {
        target.carry_out(Operation::SetBackend(*id, meaning.backends[id]))?;
    }
    Ok(())
}

fn remove_what_they_led_to<T: Target>(
    meaning: &mut Meaning,
    nodes_before: &BTreeSet<[u8; 6]>,
    nodes: &BTreeSet<[u8; 6]>,
    target: &mut Counted<'_, T>,
) -> Result<(), T::Error> {
    for id in &meaning.gone {
        target.carry_out(Operation::ClearBackend(*id))?;
        meaning.backends.remove(id);
    }
    for mac in nodes_before.difference(nodes) {
        target.carry_out(Operation::RemoveNode(*mac))?;
    }
    for id in meaning.hops_before.keys() {
        if !meaning.hops.contains_key(id) {
            target.carry_out(Operation::ClearHop(*id))?;
        }
    }
    Ok(())
}

/// Brings one frontend to what `vip` says; nothing, and nothing done, if there is no room for its table.
fn install<T: Target>(
    frontend: Frontend,
    vip: &Arc<Vip>,
    ids: &BTreeMap<Endpoint, u16>,
    before: Option<&Installed>,
    tables: &mut Tables,
    target: &mut Counted<'_, T>,
) -> Result<Option<Installed>, T::Error> {
    let table_before = before.and_then(Installed::table);
    // Without a table, the kernel has served it until now.
    let learning = match (before, table_before) {
        (Some(before), Some(_)) => before.entry.flags & FrontendEntry::LEARNING,
        _ => FrontendEntry::LEARNING,
    };
    let affinity = if vip.client_ip_affinity {
        FrontendEntry::CLIENT_IP
    } else {
        0
    };
    let old = target.slots(table_before);
    let wanted = slots(vip, ids, Some(&old));
    let table = if wanted == old {
        table_before
    } else if wanted.is_empty() {
        None
    } else {
        match place(wanted, tables, target, before.is_some())? {
            Some(table) => Some(table),
            None => return Ok(None),
        }
    };
    let entry = entry_of(table, learning | affinity);
    if before.is_none_or(|before| before.entry != entry) {
        target.carry_out(Operation::SetFrontend(frontend, entry))?;
    }
    if let Some(left) = table_before.filter(|left| Some(*left) != table) {
        tables.release(left);
    }
    Ok(Some(Installed {
        entry,
        backends: ids.values().copied().collect(),
        vip: Some(Arc::clone(vip)),
        refused: None,
    }))
}

/// A table that says this, for a frontend that has one already or not: another frontend's, or one that no packet reads.
fn place<T: Target>(
    wanted: Vec<Slot>,
    tables: &mut Tables,
    target: &mut Counted<'_, T>,
    is_served: bool,
) -> Result<Option<Table>, T::Error> {
    if let Some(same) = tables.like(&wanted)
        && target.slots(Some(same)) == wanted
    {
        tables.share(same);
        return Ok(Some(same));
    }
    let table = match tables.take(&wanted, is_served) {
        None => return Ok(None),
        Some(Taken::AtOnce(table)) => table,
        Some(Taken::AfterRest(table)) => {
            target.carry_out(Operation::Settle)?;
            table
        }
    };
    target.carry_out(Operation::WriteTable(table, wanted))?;
    Ok(Some(table))
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
