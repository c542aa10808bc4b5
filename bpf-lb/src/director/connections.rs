//! What the director does about connections besides programming tables: ageing, duties, and which of
//! them the kernel has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use landfall_bpf_lb_common::flow;
use landfall_bpf_lb_common::records::{BackendEntry, ConnectionState, FrontendEntry};

use super::feeding::{ALIVE, run_feeder};
use super::{ApplyError, Director, Leaving, away, jiffies_per_second};
use crate::ageing::Clock;
use crate::collector::Swept;
use crate::conntrack;
use crate::desired::{Endpoint, Frontend};
use crate::diff::{Operation, Target, ids_of};
use crate::duties::{self, Flow};
use crate::programmed::{Installed, Programmed, endpoint_of, unmapped};
use crate::room::Table;

/// Seconds after which every node that has connections of former backends has said so.
const SETTLED: u32 = 10;

impl Director {
    /// Tells the programs that somebody keeps their tables, and that these are those of now. Without a
    /// word for a second nothing is taken in that nobody knows; without one for five minutes, new
    /// connections take the kernel's path. To be called several times a second.
    ///
    /// # Errors
    /// If the kernel refuses to run the program that notes it.
    pub fn feed(&mut self) -> Result<(), ApplyError> {
        run_feeder(&mut self.programs.plain, ALIVE).map(drop)
    }

    /// Takes connections that are over out of the tables. To be called every few seconds.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn sweep(&mut self) -> Result<Swept, ApplyError> {
        let clock = self.clock()?;
        Ok(self.maps.sweep(clock, self.served.as_ref())?)
    }

    /// The living connections of this node's pods, and of its kernel, whose slots are another node's by
    /// now, each with that node's address: what [`duties::Owed`] shall tell. Nothing, as long as
    /// nothing has been applied.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn owed(&mut self) -> Result<BTreeMap<Flow, IpAddr>, ApplyError> {
        let clock = self.clock()?;
        let seed = flow::seed(self.settings.seed);
        let mut owed = BTreeMap::new();
        if let (Some(programmed), Some(_)) = (&self.programmed, &self.served) {
            let (connections, tables) = self.maps.connections_and_tables();
            let slot = |table, number| tables.slot(table, number);
            connections.for_each_living(clock, |flow, _| {
                if let Some(node) = duties::gained_by(programmed, &seed, &flow, slot) {
                    owed.insert(flow, node);
                }
            })?;
        }
        Ok(owed)
    }

    /// The connections of other nodes that the tables have, by the addresses of those: what an earlier
    /// process was told, for [`duties::Kept::restore`].
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn kept(&mut self) -> Result<BTreeMap<Flow, IpAddr>, ApplyError> {
        let moved = self.maps.connections().moved()?;
        let hops = self.programmed.as_ref().map(|programmed| &programmed.hops);
        let node = |hop| Some(unmapped(hops?.get(&hop)?.address));
        let kept = moved.into_iter();
        Ok(kept
            .filter_map(|(flow, hop)| Some((flow, node(hop)?)))
            .collect())
    }

    /// Sends the segments of just these connections to the nodes that have them, by the addresses of
    /// [`Desired::hops`]. One of a node that is no hop waits until it is called again; one that a pod
    /// of this node has meanwhile stays its own. Until something has been applied nothing changes.
    ///
    /// # Errors
    /// If a table cannot be read, or has no room.
    pub fn keep(&mut self, kept: &BTreeMap<Flow, IpAddr>) -> Result<(), ApplyError> {
        let now = self.jiffies()?;
        let (Some(programmed), Some(_)) = (&self.programmed, &self.served) else {
            return Ok(());
        };
        let ids: BTreeMap<IpAddr, u16> = programmed
            .hops
            .iter()
            .map(|(id, hop)| (unmapped(hop.address), *id))
            .collect();
        let wanted: BTreeMap<Flow, u16> = kept
            .iter()
            .filter_map(|(flow, node)| Some((*flow, *ids.get(node)?)))
            .collect();
        let connections = self.maps.connections();
        let moved = match self.moved.take() {
            Some(moved) => moved,
            None => connections.moved()?,
        };
        for flow in moved.keys().filter(|flow| !wanted.contains_key(flow)) {
            connections.forget_moved(flow);
        }
        let mut result = Ok(());
        let mut told = BTreeMap::new();
        for (flow, hop) in wanted {
            if moved.get(&flow) != Some(&hop)
                && let Err(error) = connections.set_moved(&flow, hop, now)
            {
                // For want of room; the others are told all the same, and this one at the next call. What the
                // table has of it is not forgotten, or it would stay there when nobody wants it any more.
                result = Err(error.into());
                told.extend(moved.get(&flow).map(|before| (flow, *before)));
                continue;
            }
            told.insert(flow, hop);
        }
        self.moved = Some(told);
        result
    }

    /// Notes which tables have changed, and lets slots of the others take in again what nobody knows:
    /// whoever has connections of their former backends has told by now. A table of several frontends is settled when it
    /// is for all of them.
    pub(super) fn settle(&mut self, clock: Clock) {
        let Some(programmed) = &mut self.programmed else {
            return;
        };
        let is_known = |frontend: &Frontend| programmed.frontends.contains_key(frontend);
        self.changed.retain(|frontend, _| is_known(frontend));
        let mut unsettled: BTreeMap<Table, bool> = BTreeMap::new();
        for (frontend, installed) in &programmed.frontends {
            let Some(table) = installed.table() else {
                self.changed.remove(frontend);
                continue;
            };
            let (known, since) = self.changed.entry(*frontend).or_insert((table, clock.now));
            if *known != table {
                (*known, *since) = (table, clock.now);
            }
            if !programmed.tables.is_settled(table) {
                *unsettled.entry(table).or_insert(true) &= clock.since(*since) >= SETTLED;
            }
        }
        for (table, _) in unsettled.into_iter().filter(|(_, is_due)| *is_due) {
            let mut slots = self.maps.slots(table);
            for slot in &mut slots {
                slot.unsettled = 0;
            }
            self.maps.rewrite_table(table, &slots);
            programmed.tables.settled(table, &slots);
        }
    }

    /// Has the programs ask nodes whose announcers are away for what nobody knows.
    pub(super) fn ask_those_away(&mut self, away: &BTreeSet<IpAddr>, clock: Clock) {
        let asked = self.away.asked(away, clock);
        let hops = self.programmed.iter().flat_map(|now| &now.hops);
        let ids: BTreeMap<IpAddr, u16> =
            hops.map(|(id, hop)| (unmapped(hop.address), *id)).collect();
        let asked = asked.iter().filter_map(|node| ids.get(node).copied());
        self.maps.set_away(away::word_of(asked));
    }

    pub(super) fn clock(&mut self) -> Result<Clock, ApplyError> {
        Ok(Clock {
            now: self.jiffies()?,
            second: jiffies_per_second(),
        })
    }

    /// Jiffies of now, as entries hold them.
    fn jiffies(&mut self) -> Result<u32, ApplyError> {
        run_feeder(&mut self.programs.plain, 0)
    }

    /// Connections of this node's pods to frontends that are not wanted any more, or to `all`.
    pub(super) fn connections_here(
        &mut self,
        unwanted: &BTreeSet<Frontend>,
        all: bool,
    ) -> Result<BTreeMap<Frontend, usize>, ApplyError> {
        let mut here = BTreeMap::new();
        if all || !unwanted.is_empty() {
            let clock = self.clock()?;
            self.maps
                .connections()
                .for_each_living(clock, |flow, kind| {
                    if kind == ConnectionState::KIND_POD
                        && (all || unwanted.contains(&flow.frontend))
                    {
                        *here.entry(flow.frontend).or_default() += 1;
                    }
                })?;
        }
        Ok(here)
    }

    /// What is to be known of frontends that are going.
    pub(super) fn leaving(
        &self,
        stay: &BTreeSet<Frontend>,
        here: &BTreeMap<Frontend, usize>,
    ) -> BTreeMap<Frontend, Leaving> {
        let nodes = |frontend: &Frontend| -> BTreeSet<IpAddr> {
            let hops = self.backends_of(frontend).map(|backend| backend.hop);
            let hops = hops.filter_map(|hop| self.programmed.as_ref()?.hops.get(&hop));
            hops.map(|hop| unmapped(hop.address)).collect()
        };
        let leaving = |frontend: &Frontend| Leaving {
            here: here.get(frontend).copied().unwrap_or_default(),
            nodes: nodes(frontend),
        };
        stay.iter()
            .map(|frontend| (*frontend, leaving(frontend)))
            .collect()
    }

    /// Pods of this node that live, of frontends that are going.
    pub(super) fn still_served(
        &self,
        stay: &BTreeSet<Frontend>,
        pods: &BTreeSet<IpAddr>,
    ) -> BTreeSet<Endpoint> {
        let backends = stay.iter().flat_map(|frontend| self.backends_of(frontend));
        backends
            .filter(|backend| backend.hop == 0)
            .map(endpoint_of)
            .filter(|endpoint| pods.contains(&endpoint.address))
            .collect()
    }

    fn backends_of(&self, frontend: &Frontend) -> impl Iterator<Item = &BackendEntry> {
        let programmed = self.programmed.as_ref();
        let installed = programmed.and_then(|programmed| programmed.frontends.get(frontend));
        let table = installed.and_then(Installed::table);
        let ids = table.map(|table| ids_of(&self.maps.slots(table)));
        ids.unwrap_or_default()
            .into_iter()
            .filter_map(move |id| programmed?.backends.get(&id))
    }

    /// Has every frontend begin on the kernel's path until it is known what the kernel has: an interface
    /// is going to be attached to that the kernel has served until now.
    pub(super) fn learn_again(&mut self, now: &mut Programmed) -> Result<(), ApplyError> {
        for (frontend, installed) in &mut now.frontends {
            if installed.entry.flags & FrontendEntry::CLOSED == 0 {
                installed.entry.flags |= FrontendEntry::LEARNING;
                let entry = installed.entry;
                self.maps
                    .carry_out(Operation::SetFrontend(*frontend, entry))?;
            }
        }
        Ok(())
    }

    /// Remembers which connections to new frontends the kernel carries, and has those frontends take
    /// new ones from then on. In between, new connections have left a note by themselves. Where the
    /// kernel does not say, why.
    pub(super) fn learn(&mut self) -> Result<Option<io::Error>, ApplyError> {
        let now = self.jiffies()?;
        let Some(programmed) = &mut self.programmed else {
            return Ok(None);
        };
        let is_learning = FrontendEntry::LEARNING;
        let learning: BTreeSet<Frontend> = programmed
            .frontends
            .iter()
            .filter(|(_, installed)| installed.entry.flags & is_learning != 0)
            .map(|(frontend, _)| *frontend)
            .collect();
        if learning.is_empty() {
            return Ok(None);
        }
        let (found, mut problem) = match conntrack::flows(&learning) {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if let Err(error) = self.maps.leave_to_kernel(&found, now) {
            problem = Some(io::Error::other(error));
        }
        for (frontend, installed) in &mut programmed.frontends {
            if learning.contains(frontend) {
                installed.entry.flags &= !is_learning;
                let entry = installed.entry;
                self.maps
                    .carry_out(Operation::SetFrontend(*frontend, entry))?;
            }
        }
        Ok(problem)
    }
}
