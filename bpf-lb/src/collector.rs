//! Takes what is over out of the tables of connections, and tells the programs what they need not
//! look for any more.
//!
//! A table is read in batches; an entry goes only after both its directions were read again. What a
//! packet touches meanwhile stays.

mod families;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::records::{ConnectionState, Direction, TurnoverEntry};

use crate::ageing::{
    Clock, LATELY, Surroundings, is_over, is_stale, is_unanswered, may_be_asked_in_vain,
};
use crate::desired::Protocol;
use crate::duties::Flow;
use crate::served::Served;
use crate::sys;
use crate::turnover::{Look, Turnover};
use families::{Four, Six, Table};

/// Entries read by one system call.
const BATCH: usize = 4096;
/// Only if there is no such entry.
const BPF_NOEXIST: u64 = 1;
/// Only if there is one.
const BPF_EXIST: u64 = 2;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Confirmed connections that stay.
    pub connections: usize,
    /// Half-open ones that stay.
    pub half_open: usize,
    /// Connections that other nodes have.
    pub moved: usize,
    /// Connections of the kernel's path among both.
    pub kernels: usize,
    /// TCP connections for which there was no room among the confirmed, or that wait for their pod's
    /// answer.
    pub strays: usize,
    /// TCP connections that were opened at pods of this node two seconds ago or more, and that no reply has been seen of.
    pub unanswered: usize,
    /// Those of them that were opened within the last fifteen seconds.
    pub unanswered_lately: usize,
    /// Connections that went.
    pub removed: usize,
    /// Entries of half-open connections that came since the first sweep: two for one of a pod, one for one of the kernel.
    pub half_open_inserted: u64,
    /// Those that went since then because others needed their room.
    pub half_open_evicted: u64,
}

/// The tables of one family.
struct Tables<F: Table> {
    connections: Entries<F>,
    half_open: Entries<F>,
    /// Whether more than half of the connections that there is room for were there at the last sweep.
    is_crowded: bool,
}

/// A table, one entry at a time and many.
struct Entries<F: Table> {
    one: HashMap<MapData, F::Key, F::Value>,
    many: MapData,
}

impl<F: Table> Entries<F> {
    fn open(
        name: &str,
        open: impl Fn(&str) -> Result<MapData, MapError>,
        kind: impl Fn(MapData) -> Map,
    ) -> Result<Self, MapError> {
        Ok(Self {
            one: kind(open(name)?).try_into()?,
            many: open(name)?,
        })
    }

    /// How many entries there is room for.
    fn room(&self) -> Result<usize, MapError> {
        Ok(self.many.info()?.max_entries() as usize)
    }

    fn for_each(&self, each: impl FnMut(&F::Key, &F::Value)) -> Result<(), MapError> {
        sys::for_each(self.many.fd().as_fd(), BATCH, each).map_err(MapError::IoError)
    }
}

/// The tables of both families.
pub(crate) struct Collector {
    four: Tables<Four>,
    six: Tables<Six>,
    counted: PerCpuArray<MapData, TurnoverEntry>,
    turnover: Turnover,
}

impl Collector {
    /// Opens the tables by `open`.
    pub(crate) fn open(open: impl Fn(&str) -> Result<MapData, MapError>) -> Result<Self, MapError> {
        Ok(Self {
            four: Tables {
                connections: Entries::open(names::CONNECTIONS4, &open, Map::HashMap)?,
                half_open: Entries::open(names::HALF_OPEN4, &open, Map::LruHashMap)?,
                is_crowded: false,
            },
            six: Tables {
                connections: Entries::open(names::CONNECTIONS6, &open, Map::HashMap)?,
                half_open: Entries::open(names::HALF_OPEN6, &open, Map::LruHashMap)?,
                is_crowded: false,
            },
            counted: Map::PerCpuArray(open(names::TURNOVER)?).try_into()?,
            turnover: Turnover::default(),
        })
    }

    /// Sweeps all tables; `served` are the endpoints that have a frontend, if that is known.
    pub(crate) fn sweep(
        &mut self,
        clock: Clock,
        served: Option<&Served>,
    ) -> Result<Swept, MapError> {
        let mut swept = Swept::default();
        let inserted = self.counted(|counted| counted.inserted)?;
        let mut present = 0;
        self.four.sweep(clock, served, &mut swept)?;
        self.six.sweep(clock, served, &mut swept)?;
        for stays in [
            self.four
                .sweep_half_open(clock, &mut swept, &mut self.turnover)?,
            self.six
                .sweep_half_open(clock, &mut swept, &mut self.turnover)?,
        ] {
            present += stays;
        }
        let removed = self.counted(|counted| counted.removed)?;
        (swept.half_open_inserted, swept.half_open_evicted) = self.turnover.look(Look {
            inserted,
            present,
            removed,
        });
        Ok(swept)
    }

    /// What the programs counted, over all CPUs.
    fn counted(&self, field: impl Fn(&TurnoverEntry) -> u64) -> Result<u64, MapError> {
        Ok(self.counted.get(&0, 0)?.iter().map(field).sum())
    }

    /// Calls `each` with every living connection that this node has, and what it goes to: one of a pod,
    /// also if it is just being opened, or one of the kernel's.
    pub(crate) fn for_each_living(
        &self,
        clock: Clock,
        mut each: impl FnMut(Flow, u8),
    ) -> Result<(), MapError> {
        self.four.for_each_living(clock, &mut each)?;
        self.six.for_each_living(clock, &mut each)
    }

    /// The connections that other nodes have: the hop ids of those.
    pub(crate) fn moved(&self) -> Result<BTreeMap<Flow, u16>, MapError> {
        let mut moved = BTreeMap::new();
        self.four.moved(&mut moved)?;
        self.six.moved(&mut moved)?;
        Ok(moved)
    }

    /// Knows that the node of this hop id has a connection, unless a pod of this node has it, or the
    /// kernel.
    pub(crate) fn set_moved(&mut self, flow: &Flow, hop: u16, now: u32) -> Result<(), MapError> {
        self.four.set_moved(flow, hop, now)?;
        self.six.set_moved(flow, hop, now)
    }

    /// Knows that the kernel carries a connection, unless a pod of this node or another node has it.
    pub(crate) fn set_kernels(&mut self, flow: &Flow, now: u32) -> Result<(), MapError> {
        self.four.set_kernels(flow, now)?;
        self.six.set_kernels(flow, now)
    }

    /// Knows nothing any more of another node's connection.
    pub(crate) fn forget_moved(&mut self, flow: &Flow) {
        self.four.forget_moved(flow);
        self.six.forget_moved(flow);
    }
}

fn is_over_at_its_pod(state: &ConnectionState) -> bool {
    state.kind == ConnectionState::KIND_POD && state.is_over()
}

impl<F: Table> Tables<F> {
    fn sweep(
        &mut self,
        clock: Clock,
        served: Option<&Served>,
        swept: &mut Swept,
    ) -> Result<(), MapError> {
        let mut over = Vec::new();
        let mut count = 0;
        let is_crowded = self.is_crowded;
        self.connections.for_each(|key, value| {
            let Some(protocol) = F::protocol(key) else {
                return;
            };
            let state = F::state(value);
            let forward = F::direction(key) == Direction::Forward as u8;
            if state.kind == ConnectionState::KIND_NODE {
                swept.moved += 1;
                return;
            }
            count += usize::from(forward);
            let is_served = !forward
                || state.kind != ConnectionState::KIND_POD
                || served.is_none_or(|served| served.contains(&F::pod(value)));
            let around = Surroundings {
                is_crowded,
                is_served,
            };
            // What the other direction says is looked at of these alone.
            let maybe = is_over(clock, protocol, state, Some(state), around)
                || may_be_asked_in_vain(protocol, around);
            if maybe {
                over.push((*key, protocol, around));
            } else {
                swept.kernels += usize::from(state.kind == ConnectionState::KIND_KERNEL);
            }
        })?;
        let mut gone = 0;
        for (key, protocol, around) in over {
            gone += usize::from(self.remove_if_over(clock, &key, protocol, around));
        }
        // Each has two entries.
        self.is_crowded = (count - gone) * 4 > self.connections.room()?;
        swept.connections += count - gone;
        swept.removed += gone;
        Ok(())
    }

    /// Removes a connection, if both its directions say that it is over; whether there was one, and
    /// not only what was left of one.
    fn remove_if_over(
        &mut self,
        clock: Clock,
        key: &F::Key,
        protocol: Protocol,
        around: Surroundings,
    ) -> bool {
        let Ok(value) = self.connections.one.get(key, 0) else {
            return false;
        };
        let twin_key = F::twin(key, &value);
        let twin = self.connections.one.get(&twin_key, 0).ok();
        // The other direction may be another connection's by now.
        let twin = twin.filter(|twin| F::twin(&twin_key, twin) == *key);
        let state = F::state(&value);
        if !is_over(clock, protocol, state, twin.as_ref().map(F::state), around) {
            return false;
        }
        // What is gone already was to go.
        let _ = self.connections.one.remove(key);
        if twin.is_some() {
            let _ = self.connections.one.remove(&twin_key);
        }
        twin.is_some() || F::direction(key) == Direction::Forward as u8
    }

    /// Removes an entry, and that of the other direction if it is of the same connection.
    fn remove_both(&mut self, key: &F::Key, value: &F::Value) {
        let twin_key = F::twin(key, value);
        // What is gone already was to go.
        let _ = self.connections.one.remove(key);
        if let Ok(twin) = self.connections.one.get(&twin_key, 0)
            && F::twin(&twin_key, &twin) == *key
        {
            let _ = self.connections.one.remove(&twin_key);
        }
    }

    fn for_each_living(
        &self,
        clock: Clock,
        mut each: impl FnMut(Flow, u8),
    ) -> Result<(), MapError> {
        self.connections.for_each(|key, value| {
            let state = F::state(value);
            if state.kind != ConnectionState::KIND_NODE
                && !state.is_over()
                && let Some(flow) = F::flow(key)
            {
                each(flow, state.kind);
            }
        })?;
        self.half_open.for_each(|key, value| {
            let state = F::state(value);
            if state.kind == ConnectionState::KIND_POD
                && let Some(flow) = F::flow(key)
                && !is_stale(clock, flow.frontend.protocol, state)
            {
                each(flow, state.kind);
            }
        })
    }

    fn moved(&self, moved: &mut BTreeMap<Flow, u16>) -> Result<(), MapError> {
        self.connections.for_each(|key, value| {
            let state = F::state(value);
            if state.kind == ConnectionState::KIND_NODE
                && let Some(flow) = F::flow(key)
            {
                moved.insert(flow, state.port);
            }
        })
    }

    fn set_moved(&mut self, flow: &Flow, hop: u16, now: u32) -> Result<(), MapError> {
        let Some(key) = F::key(flow) else {
            return Ok(());
        };
        let flags = match self.connections.one.get(&key, 0) {
            Ok(value) if F::state(&value).kind == ConnectionState::KIND_NODE => BPF_EXIST,
            Ok(value) if is_over_at_its_pod(F::state(&value)) => {
                // The client's next one is elsewhere.
                self.remove_both(&key, &value);
                BPF_NOEXIST
            }
            Ok(_) => return Ok(()),
            Err(_) => BPF_NOEXIST,
        };
        let state = ConnectionState {
            port: hop,
            kind: ConnectionState::KIND_NODE,
            seen: now,
            ..ConnectionState::default()
        };
        self.insert(key, state, flags)
    }

    fn set_kernels(&mut self, flow: &Flow, now: u32) -> Result<(), MapError> {
        let Some(key) = F::key(flow) else {
            return Ok(());
        };
        let state = ConnectionState {
            kind: ConnectionState::KIND_KERNEL,
            seen: now,
            ..ConnectionState::default()
        };
        self.insert(key, state, BPF_NOEXIST)
    }

    fn insert(&mut self, key: F::Key, state: ConnectionState, flags: u64) -> Result<(), MapError> {
        let failed = match self.connections.one.insert(key, F::value(state), flags) {
            Err(MapError::SyscallError(error)) => error,
            result => return result,
        };
        match failed.io_error.kind() {
            // A connection of ours has come between.
            ErrorKind::AlreadyExists => Ok(()),
            // What was there has just gone.
            ErrorKind::NotFound if flags == BPF_EXIST => self.insert(key, state, BPF_NOEXIST),
            _ => Err(MapError::SyscallError(failed)),
        }
    }

    fn forget_moved(&mut self, flow: &Flow) {
        if let Some(key) = F::key(flow)
            && let Ok(value) = self.connections.one.get(&key, 0)
            && F::state(&value).kind == ConnectionState::KIND_NODE
        {
            // What is gone already was to go.
            let _ = self.connections.one.remove(&key);
        }
    }

    /// Says how many entries stay.
    fn sweep_half_open(
        &mut self,
        clock: Clock,
        swept: &mut Swept,
        turnover: &mut Turnover,
    ) -> Result<u64, MapError> {
        let mut stale = Vec::new();
        let mut present = 0;
        self.half_open.for_each(|key, value| {
            present += 1;
            let Some(protocol) = F::protocol(key) else {
                return;
            };
            let state = F::state(value);
            if is_stale(clock, protocol, state) {
                stale.push(*key);
                return;
            }
            if F::direction(key) == Direction::Forward as u8 {
                swept.half_open += 1;
                if state.kind == ConnectionState::KIND_KERNEL {
                    swept.kernels += 1;
                } else if protocol == Protocol::Tcp
                    && state.confirmed_by >= ConnectionState::BY_ANSWER
                {
                    swept.strays += 1;
                } else if is_unanswered(clock, protocol, state) {
                    swept.unanswered += 1;
                    swept.unanswered_lately += usize::from(clock.silent(state) <= LATELY);
                }
            }
        })?;
        for key in stale {
            // It may have been confirmed, or evicted, meanwhile.
            if self.half_open.one.remove(&key).is_ok() {
                present -= 1;
                turnover.swept();
            }
        }
        Ok(present)
    }
}
