//! The data path of one node as one value: load, apply, count, remove.
//!
//! Everything it does lives in the kernel, pinned: dropping a [`Director`] changes nothing, and
//! loading one again takes over what is there, programs replaced and maps kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::{ProgramError, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfError, EbpfLoader};
use landfall_bpf_lb_common::records::{InterfaceEntry, Slot};
use landfall_bpf_lb_common::{Verdict, flow, names};

use crate::ageing::Clock;
use crate::collector::Swept;
use crate::desired::{Desired, Endpoint, Frontend, Interface};
use crate::diff::{Refusal, plan};
use crate::duties::{self, Flow};
use crate::links::{AttachError, Attached, Links, classifier, feeder, xdp_program};
use crate::maps::Maps;
use crate::object;
use crate::programmed::{Programmed, unmapped};
use crate::settings::Settings;
use pins::{DIRECTIONS, directories, discard_misshapen, make, require_bpffs};

mod pins;

/// Why the data path could not be loaded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum LoadError {
    /// The pin directory is not on a bpffs.
    #[error("{path} is not on a bpffs; mount one (`mount -t bpf bpf /sys/fs/bpf`)")]
    NotBpffs { path: PathBuf },
    /// A directory could not be made, or a pin not be removed.
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    /// The kernel refused the object.
    #[error("loading the object: {0}")]
    Object(#[from] EbpfError),
    /// The kernel refused a program.
    #[error("loading program {program}: {source}")]
    Program {
        program: &'static str,
        source: ProgramError,
    },
    /// A map could not be opened or read.
    #[error("reading the maps: {0}")]
    Map(#[from] MapError),
    /// Programs already attached could not be replaced.
    #[error("taking over what is attached: {0}")]
    Adopt(#[from] AttachError),
}

/// Why a wanted state was not reached. What was done before stays done; the next call reads the
/// maps again and goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A map could not be read or written.
    #[error("programming the data path: {0}")]
    Map(#[from] MapError),
    /// The programs could not be told that somebody keeps their tables.
    #[error("telling the data path that it is kept: {0}")]
    Feed(ProgramError),
}

/// What [`Director::apply`] achieved.
#[derive(Debug, Default)]
pub struct Applied {
    /// Interfaces that have the programs, by kernel index.
    pub interfaces: BTreeMap<u32, Attached>,
    /// Interfaces that could not be attached to, or not be freed.
    pub problems: Vec<AttachError>,
    /// Writes to the tables it took; zero if all was as wanted.
    pub operations: usize,
    /// Frontends now served.
    pub frontends: usize,
    /// Backends now known.
    pub backends: usize,
    /// Frontends that pass to the kernel instead, and why.
    pub refused: Vec<(Frontend, Refusal)>,
}

/// The data path of this node.
pub struct Director {
    settings: Settings,
    ebpf: Ebpf,
    maps: Maps,
    links: Links,
    /// What the maps hold; unknown after a failure.
    programmed: Option<Programmed>,
    /// All endpoints that a frontend has; unknown before the first wanted state.
    served: Option<BTreeSet<Endpoint>>,
    /// The connections of other nodes in the tables, by hop id; unknown after a start or a failure.
    moved: Option<BTreeMap<Flow, u16>>,
}

impl Director {
    /// Loads the programs, makes the maps or takes over the pinned ones, and replaces the programs
    /// on interfaces that have them already.
    ///
    /// # Errors
    /// See [`LoadError`]. What was attached before stays attached as it was.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let (maps_dir, links_dir) = directories(settings);
        require_bpffs(&settings.pin_dir)?;
        for directory in [&settings.pin_dir, &maps_dir, &links_dir] {
            make(directory)?;
        }
        discard_misshapen(&maps_dir, settings)?;
        let mut ebpf = load_object(object::LANDFALL, settings)?;
        let program = names::XDP;
        xdp_program(&mut ebpf)
            .and_then(|xdp| xdp.load())
            .map_err(|source| LoadError::Program { program, source })?;
        let program = names::EGRESS;
        classifier(&mut ebpf)
            .and_then(|tc| tc.load())
            .map_err(|source| LoadError::Program { program, source })?;
        let mut maps = Maps::open(&maps_dir, settings)?;
        let program = names::FEED;
        feeder(&mut ebpf)
            .and_then(|feed| feed.load())
            .map_err(|source| LoadError::Program { program, source })?;
        let programmed = maps.read(settings)?;
        let links = Links::new(links_dir, settings.tc_links);
        links.adopt(&mut ebpf)?;
        let attached = links.interfaces()?;
        for (ifindex, entry) in maps.interfaces()? {
            if !attached.contains(&entry.device) {
                maps.remove_interface(ifindex)?;
            }
        }
        Ok(Self {
            settings: settings.clone(),
            ebpf,
            maps,
            links,
            programmed: Some(programmed),
            served: None,
            moved: None,
        })
    }

    /// The interfaces that have the programs, those an earlier process attached included.
    ///
    /// # Errors
    /// If the pins cannot be listed.
    pub fn interfaces(&self) -> Result<BTreeSet<u32>, AttachError> {
        self.links.interfaces()
    }

    /// Brings programs and maps to what `desired` says, by the fewest writes: the programs go from
    /// interfaces that are not wanted any more, then the maps change, and then the programs come to
    /// the others, so that what is attached anew finds its tables filled.
    ///
    /// # Errors
    /// See [`ApplyError`]. An interface that fails does not stand in the way of the others: it is
    /// told in [`Applied::problems`].
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied, ApplyError> {
        let mut problems = self.detach_others(desired);
        let mut applied = self.program(desired)?;
        let backends = desired.frontends.values().map(|vip| &vip.backends);
        self.served = Some(backends.flat_map(BTreeMap::keys).copied().collect());
        self.feed()?;
        for (ifindex, interface) in &desired.interfaces {
            match self.attach(*ifindex, interface) {
                Ok(attached) => {
                    applied.interfaces.insert(*ifindex, attached);
                }
                Err(error) => problems.push(error),
            }
        }
        applied.problems = problems;
        Ok(applied)
    }

    /// Takes the programs off every interface that is not wanted, whoever attached them.
    fn detach_others(&mut self, desired: &Desired) -> Vec<AttachError> {
        let attached = match self.links.interfaces() {
            Ok(attached) => attached,
            Err(error) => return vec![error],
        };
        let others = attached
            .into_iter()
            .filter(|ifindex| !desired.interfaces.contains_key(ifindex));
        others
            .filter_map(|ifindex| self.detach(ifindex).err())
            .collect()
    }

    /// Puts the programs on an interface; where they run already this is two look-ups (since Linux
    /// 6.6). The interface's records come first and do not outlive a failure.
    fn attach(&mut self, ifindex: u32, interface: &Interface) -> Result<Attached, AttachError> {
        self.record(ifindex, interface)
            .map_err(|source| AttachError::Map { ifindex, source })?;
        let mode = self.settings.attach;
        let attached = self
            .links
            .attach(&mut self.ebpf, ifindex, &interface.name, mode);
        if attached.is_err() && !self.links.interfaces()?.contains(&ifindex) {
            self.forget(ifindex)?;
        }
        attached
    }

    /// Records an interface and, of a bond, its members.
    fn record(&mut self, ifindex: u32, interface: &Interface) -> Result<(), MapError> {
        let left = |(index, entry): &(u32, InterfaceEntry)| {
            entry.device == ifindex && *index != ifindex && !interface.members.contains(index)
        };
        for (index, _) in self.maps.interfaces()?.iter().filter(|known| left(known)) {
            self.maps.remove_interface(*index)?;
        }
        for index in interface.members.iter().chain([&ifindex]) {
            self.maps.set_interface(*index, ifindex, interface.mac)?;
        }
        Ok(())
    }

    /// Takes the programs off an interface; it need not exist any more.
    fn detach(&mut self, ifindex: u32) -> Result<(), AttachError> {
        self.links.detach(ifindex)?;
        self.forget(ifindex)
    }

    fn forget(&mut self, ifindex: u32) -> Result<(), AttachError> {
        let failed = |source| AttachError::Map { ifindex, source };
        for (index, entry) in self.maps.interfaces().map_err(failed)? {
            if entry.device == ifindex {
                self.maps.remove_interface(index).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Tells the programs that somebody keeps their tables; without a word for five minutes, new
    /// connections take the kernel's path. [`Director::apply`] does it too.
    ///
    /// # Errors
    /// If the kernel refuses to run the program that notes it.
    pub fn feed(&mut self) -> Result<(), ApplyError> {
        self.jiffies().map(drop)
    }

    /// Takes connections that are over out of the tables, and tells the programs that somebody keeps
    /// them. To be called every few seconds.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn sweep(&mut self) -> Result<Swept, ApplyError> {
        let clock = self.clock()?;
        Ok(self.maps.sweep(clock, self.served.as_ref())?)
    }

    /// The living connections of this node's pods whose slots are another node's by now, each with
    /// that node's address: what [`duties::Owed`] shall tell. Nothing, as long as nothing has been
    /// applied.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn owed(&mut self) -> Result<BTreeMap<Flow, IpAddr>, ApplyError> {
        let clock = self.clock()?;
        let seed = flow::seed(self.settings.seed);
        let mut owed = BTreeMap::new();
        if let (Some(programmed), Some(_)) = (&self.programmed, &self.served) {
            self.maps.connections().for_each_living(clock, |flow| {
                if let Some(node) = duties::gained_by(programmed, &seed, &flow) {
                    owed.insert(flow, node);
                }
            })?;
        }
        Ok(owed)
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
        for (flow, hop) in &wanted {
            if moved.get(flow) != Some(hop) {
                connections.set_moved(flow, *hop, now)?;
            }
        }
        self.moved = Some(wanted);
        Ok(())
    }

    /// Lets slots take in again what nobody knows, although they have forgotten backends: whoever has
    /// connections of those has told by now. To be called some seconds after the last change.
    pub fn settle(&mut self) {
        let Some(programmed) = &mut self.programmed else {
            return;
        };
        for installed in programmed.frontends.values_mut() {
            if installed.slots.iter().any(|slot| slot.unsettled != 0) {
                let settled = installed.slots.iter().map(|slot| Slot {
                    unsettled: 0,
                    ..*slot
                });
                installed.slots = settled.collect();
                self.maps
                    .rewrite_table(installed.entry.table, &installed.slots);
            }
        }
    }

    fn clock(&mut self) -> Result<Clock, ApplyError> {
        Ok(Clock {
            now: self.jiffies()?,
            second: jiffies_per_second(),
        })
    }

    /// Jiffies of now, as entries hold them.
    fn jiffies(&mut self) -> Result<u32, ApplyError> {
        let feed = |ebpf| -> Result<u32, ProgramError> {
            let frame = [0; 64];
            let run = feeder(ebpf)?.test_run(TestRunOptions {
                data_in: Some(&frame),
                ..TestRunOptions::new()
            })?;
            Ok(run.return_value)
        };
        feed(&mut self.ebpf).map_err(ApplyError::Feed)
    }

    /// Brings the maps to what `desired` says.
    fn program(&mut self, desired: &Desired) -> Result<Applied, ApplyError> {
        let now = match self.programmed.take() {
            Some(programmed) => programmed,
            None => self.maps.read(&self.settings)?,
        };
        let (mut applied, mut next) = self.carry_out(&now, desired)?;
        if !applied.refused.is_empty() && applied.operations > 0 {
            // What was removed has made room.
            let before = applied.operations;
            (applied, next) = self.carry_out(&next, desired)?;
            applied.operations += before;
        }
        self.programmed = Some(next);
        Ok(applied)
    }

    fn carry_out(
        &mut self,
        now: &Programmed,
        desired: &Desired,
    ) -> Result<(Applied, Programmed), ApplyError> {
        let changes = plan(now, desired, &self.settings);
        for operation in &changes.operations {
            self.maps.carry_out(operation)?;
        }
        let applied = Applied {
            operations: changes.operations.len(),
            frontends: changes.next.frontends.len(),
            backends: changes.next.backends.len(),
            refused: changes.refused.into_iter().collect(),
            ..Applied::default()
        };
        Ok((applied, changes.next))
    }

    /// Packets by verdict since the maps were made, over all CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Verdict, u64)>, ApplyError> {
        Ok(self.maps.counters()?)
    }

    /// The loaded programs, for tests and benches that run them without an interface.
    pub fn programs(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Takes everything off the node: programs, links and maps. Nothing need be loaded.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn remove(settings: &Settings) -> Result<(), LoadError> {
        let (maps_dir, links_dir) = directories(settings);
        Links::new(links_dir, settings.tc_links).detach_all()?;
        match fs::remove_dir_all(&settings.pin_dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LoadError::Directory {
                path: maps_dir,
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Loads an object against the maps pinned for `settings`.
///
/// # Errors
/// If the kernel refuses it.
pub fn load_object(object: &[u8], settings: &Settings) -> Result<Ebpf, EbpfError> {
    let (maps_dir, _) = directories(settings);
    let jiffies = jiffies_per_second();
    let seed = flow::seed(settings.seed);
    EbpfLoader::new()
        .default_map_pin_directory(&maps_dir)
        .override_global(names::TABLE_SLOTS, &settings.table_slots, false)
        .override_global(names::JIFFIES_PER_SECOND, &jiffies, false)
        .override_global(names::SEED, &seed, false)
        .map_max_entries(names::FRONTENDS4, settings.frontend_entries())
        .map_max_entries(names::FRONTENDS6, settings.frontend_entries())
        .map_max_entries(names::TABLES, settings.tables() * settings.table_slots)
        .map_max_entries(names::BACKENDS, settings.backends)
        .map_max_entries(names::HOPS, settings.hops)
        .map_max_entries(names::NODES, settings.node_entries())
        .map_max_entries(names::CONNECTIONS4, settings.connections4 * DIRECTIONS)
        .map_max_entries(names::CONNECTIONS6, settings.connections6 * DIRECTIONS)
        .map_max_entries(names::HALF_OPEN4, settings.half_open4 * DIRECTIONS)
        .map_max_entries(names::HALF_OPEN6, settings.half_open6 * DIRECTIONS)
        .load(object)
}

/// The kernel's tick rate: the coarse clock advances once a tick.
fn jiffies_per_second() -> u32 {
    // SAFETY: all zeros is a valid structure for the call to fill.
    let resolution = unsafe {
        let mut resolution: libc::timespec = std::mem::zeroed();
        libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution);
        resolution
    };
    let nanoseconds = u32::try_from(resolution.tv_nsec).unwrap_or(0).max(1);
    1_000_000_000 / nanoseconds
}
