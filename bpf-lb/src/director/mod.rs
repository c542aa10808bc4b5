//! The data path of one node as one value: load, apply, count, remove.
//!
//! Everything it does lives in the kernel, pinned: dropping a [`Director`] changes nothing, and
//! loading one again takes over what is there, programs replaced and maps kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{Ebpf, EbpfError, EbpfLoader};
use landfall_bpf_lb_common::{Verdict, flow, names};

use crate::desired::{Desired, Frontend};
use crate::diff::{Refusal, carry_out};
use crate::duties::Flow;
use crate::interface;
use crate::links::{AttachError, Attached, Links, classifier, feeder, uninterrupted, xdp_program};
use crate::maps::Maps;
use crate::object;
use crate::programmed::Programmed;
use crate::room::Table;
use crate::samples::Sampling;
use crate::served::Served;
use crate::settings::Settings;
use away::Away;
use draining::Draining;
use feeding::Fed;
use pins::{DIRECTIONS, directories, discard_misshapen, make, require_bpffs};
pub use sampling::Sampler;
use sampling::{Programs, unpin_ring};

mod attaching;
mod away;
mod connections;
mod draining;
mod feeding;
mod pins;
mod sampling;

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
    /// Interfaces could not be freed. All others were.
    #[error("taking the programs off: {}", sentences(.0))]
    Detach(Vec<AttachError>),
}

fn sentences(errors: &[AttachError]) -> String {
    let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    sentences.join("; ")
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
    /// Interfaces that could not be attached to, or not be freed, or on which others are in the way.
    pub problems: Vec<AttachError>,
    /// Writes to the tables it took; zero if all was as wanted.
    pub operations: usize,
    /// Frontends now served.
    pub frontends: usize,
    /// Backends now known.
    pub backends: usize,
    /// Frontends that pass to the kernel instead, and why.
    pub refused: Vec<(Frontend, Refusal)>,
    /// Frontends that are not wanted any more, or have no backends, and are kept for the connections they have.
    pub draining: BTreeMap<Frontend, Leaving>,
    /// Addresses that this node's pods have connections of: of frontends that are not wanted any more, and
    /// of all if another node asks ([`Desired::is_asked`]).
    pub carried: BTreeSet<IpAddr>,
    /// Why the connections that the kernel carries could not be found out: they will be reset.
    pub unlearned: Option<io::Error>,
}

/// A frontend that is going.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Connections of this node's pods.
    pub here: usize,
    /// Other nodes that have pods of it.
    pub nodes: BTreeSet<IpAddr>,
}

/// The data path of this node.
pub struct Director {
    settings: Settings,
    programs: Programs,
    maps: Maps,
    sampling: Sampling,
    links: Links,
    /// What the maps hold; unknown after a failure.
    programmed: Option<Programmed>,
    /// All endpoints that a frontend has; unknown before the first wanted state.
    served: Option<Served>,
    draining: Draining,
    away: Away,
    /// The table of each frontend, and since when it is that one, in jiffies.
    changed: BTreeMap<Frontend, (Table, u32)>,
    /// Interfaces that were attached to, or could not be.
    tried: BTreeSet<u32>,
    /// Interfaces that packets are sent out of, and that cannot transmit what native XDP sends there; unknown before the
    /// first wanted state.
    mute: Option<BTreeSet<u32>>,
    /// The connections of other nodes in the tables, by hop id; unknown after a start or a failure.
    moved: Option<BTreeMap<Flow, u16>>,
}

impl Director {
    /// Loads the programs, makes the maps or takes over the pinned ones, and replaces the programs
    /// on interfaces that have them already. Where the maps of an earlier version or of other sizes cannot be taken over,
    /// the first [`Self::apply`] does that, after it has filled the new ones.
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
        load_program(names::XDP, || xdp_program(&mut ebpf)?.load())?;
        load_program(names::EGRESS, || {
            classifier(&mut ebpf, names::EGRESS)?.load()
        })?;
        let mut maps = Maps::open(&maps_dir)?;
        load_program(names::FEED, || feeder(&mut ebpf)?.load())?;
        let programmed = maps.read(settings)?;
        let links = Links::new(links_dir, settings.tc_links);
        // Until the first wanted state has filled them, what runs serves by the ones of before.
        if maps.are_filled() {
            links.adopt(&mut ebpf)?;
        }
        let attached = links.interfaces()?;
        for (ifindex, entry) in maps.interfaces().read()? {
            if !attached.contains(&entry.device) {
                maps.interfaces().remove(ifindex)?;
            }
        }
        let director = Self {
            settings: settings.clone(),
            programs: Programs {
                plain: ebpf,
                sampling: None,
            },
            maps,
            sampling: Sampling::open(&maps_dir)?,
            links,
            programmed: Some(programmed),
            served: None,
            draining: Draining::default(),
            away: Away::default(),
            changed: BTreeMap::new(),
            tried: attached,
            mute: None,
            moved: None,
        };
        // An earlier process filled it. Whoever looks has another one soon.
        unpin_ring(settings)?;
        Ok(director)
    }

    /// The interfaces that have the programs, those an earlier process attached included.
    ///
    /// # Errors
    /// If the pins cannot be listed.
    pub fn interfaces(&self) -> Result<BTreeSet<u32>, AttachError> {
        self.links.interfaces()
    }

    /// The interfaces that there are, and that an earlier process has left the programs on.
    #[must_use]
    pub fn left_on(settings: &Settings) -> BTreeSet<u32> {
        let (_, links_dir) = directories(settings);
        let attached = Links::new(links_dir, settings.tc_links).interfaces();
        let mut attached = attached.unwrap_or_default();
        attached.retain(|ifindex| {
            let name = interface::name(*ifindex);
            !name.is_err_and(|error| interface::is_gone(&error))
        });
        attached
    }

    /// Brings programs and maps to what `desired` says, by the fewest writes: the programs go from
    /// interfaces that are not wanted any more, then the maps change, and then the programs come to
    /// the others, so that what is attached anew finds its tables filled. A frontend that is new takes
    /// connections once it is known which of them the kernel has; as long as one is going, the programs
    /// stay where they are.
    ///
    /// # Errors
    /// See [`ApplyError`]. An interface that fails does not stand in the way of the others: it is
    /// told in [`Applied::problems`].
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied, ApplyError> {
        let mut now = match self.programmed.take() {
            Some(programmed) => programmed,
            None => {
                // Which tables have changed since is not known either.
                self.changed.clear();
                self.maps.read(&self.settings)?
            }
        };
        let unwanted = unwanted(&now, desired);
        let here = self.connections_here(&unwanted, desired.is_asked)?;
        let clock = self.clock()?;
        let stay = self
            .draining
            .stay(&unwanted, &here, &desired.carried, clock);
        let mut problems = Vec::new();
        if stay.iter().all(|one| desired.frontends.contains_key(one)) {
            problems = self.detach_others(desired);
        }
        let tried = self.tried.len();
        self.tried.extend(desired.interfaces.keys());
        if self.tried.len() > tried {
            self.learn_again(&mut now)?;
        }
        let mut applied = self.program(now, desired, &stay)?;
        self.ask_those_away(&desired.away, clock);
        applied.draining = self.leaving(&stay, &here);
        applied.carried = here.keys().map(|frontend| frontend.address).collect();
        let still = self.still_served(&stay, &desired.pods);
        self.served = Some(Served::new(desired, still));
        let attached = self.attach_all(desired);
        applied.interfaces = attached.interfaces;
        problems.extend(attached.problems);
        applied.problems = problems;
        applied.unlearned = self.learn()?;
        self.settle(clock);
        self.feed()?;
        Ok(applied)
    }

    /// Brings the maps from what they hold `now` to what `desired` says.
    fn program(
        &mut self,
        now: Programmed,
        desired: &Desired,
        draining: &BTreeSet<Frontend>,
    ) -> Result<Applied, ApplyError> {
        let (mut applied, mut next) = self.carry_out(now, desired, draining)?;
        if !applied.refused.is_empty() && applied.operations > 0 {
            // What was removed has made room.
            let before = applied.operations;
            (applied, next) = self.carry_out(next, desired, draining)?;
            applied.operations += before;
        }
        self.programmed = Some(next);
        self.maps.set_filled();
        Ok(applied)
    }

    fn carry_out(
        &mut self,
        now: Programmed,
        desired: &Desired,
        draining: &BTreeSet<Frontend>,
    ) -> Result<(Applied, Programmed), ApplyError> {
        let mut target = Fed {
            maps: &mut self.maps,
            // Before the first wanted state, what is there is not that of now.
            feeder: self.served.is_some().then_some(&mut self.programs.plain),
            last: Instant::now(),
        };
        let changes = carry_out(now, desired, draining, &self.settings, &mut target)?;
        let applied = Applied {
            operations: changes.operations,
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
        self.programs.attached()
    }

    /// Takes everything off the node: programs, links and maps. Nothing need be loaded.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn remove(settings: &Settings) -> Result<(), LoadError> {
        let (maps_dir, links_dir) = directories(settings);
        let failed = Links::new(links_dir, settings.tc_links).detach_all();
        if !failed.is_empty() {
            return Err(LoadError::Detach(failed));
        }
        match fs::remove_dir_all(&settings.pin_dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LoadError::Directory {
                path: maps_dir,
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Has the kernel take a program in.
fn load_program(
    program: &'static str,
    load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), LoadError> {
    uninterrupted(load).map_err(|source| LoadError::Program { program, source })
}

/// The frontends that are not wanted any more, or have no backends, and may have connections.
fn unwanted(now: &Programmed, desired: &Desired) -> BTreeSet<Frontend> {
    let programmed = now.frontends.iter();
    programmed
        .filter(|(frontend, installed)| installed.table().is_some() && !desired.serves(frontend))
        .map(|(frontend, _)| *frontend)
        .collect()
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
        .override_global(names::JIFFIES_PER_SECOND, &jiffies, false)
        .override_global(names::SEED, &seed, false)
        .map_max_entries(names::FRONTENDS4, settings.frontend_map_entries())
        .map_max_entries(names::FRONTENDS6, settings.frontend_map_entries())
        .map_max_entries(names::TABLES, settings.slots)
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
