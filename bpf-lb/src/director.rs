//! The data path of one node as one value: load, apply, count, remove.
//!
//! Everything it does lives in the kernel, pinned: dropping a [`Director`] changes nothing, and
//! loading one again takes over what is there, programs replaced and maps kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{Ebpf, EbpfError, EbpfLoader};
use landfall_bpf_lb_common::records::{
    BackendEntry, BudgetEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    FrontendEntry, FrontendKey4, FrontendKey6, HopEntry, InterfaceEntry, SlotPair, table_stride,
};
use landfall_bpf_lb_common::{Verdict, names};

use crate::desired::{Desired, Frontend, Interface};
use crate::diff::{Refusal, plan};
use crate::links::{AttachError, Attached, Links, classifier, xdp_program};
use crate::maps::{Maps, has_shape};
use crate::object;
use crate::programmed::Programmed;
use crate::settings::Settings;

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
        let programmed = maps.read(settings)?;
        let links = Links::new(links_dir, settings.tc_links);
        links.adopt(&mut ebpf)?;
        let attached = links.interfaces()?;
        for ifindex in maps.interfaces()? {
            if !attached.contains(&ifindex) {
                maps.remove_interface(ifindex)?;
            }
        }
        Ok(Self {
            settings: settings.clone(),
            ebpf,
            maps,
            links,
            programmed: Some(programmed),
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
    /// 6.6). The interface's record comes first and does not outlive a failure.
    fn attach(&mut self, ifindex: u32, interface: &Interface) -> Result<Attached, AttachError> {
        self.maps
            .set_interface(ifindex, interface.mac)
            .map_err(|source| AttachError::Map { ifindex, source })?;
        let mode = self.settings.attach;
        let attached = self
            .links
            .attach(&mut self.ebpf, ifindex, &interface.name, mode);
        if attached.is_err() && !self.links.interfaces()?.contains(&ifindex) {
            self.maps
                .remove_interface(ifindex)
                .map_err(|source| AttachError::Map { ifindex, source })?;
        }
        attached
    }

    /// Takes the programs off an interface; it need not exist any more.
    fn detach(&mut self, ifindex: u32) -> Result<(), AttachError> {
        self.links.detach(ifindex)?;
        self.maps
            .remove_interface(ifindex)
            .map_err(|source| AttachError::Map { ifindex, source })
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
    EbpfLoader::new()
        .default_map_pin_directory(&maps_dir)
        .override_global(names::TABLE_SLOTS, &settings.table_slots, false)
        .override_global(names::JIFFIES_PER_SECOND, &jiffies, false)
        .override_global(names::INSERT_BUDGET, &settings.insert_budget, false)
        .map_max_entries(names::FRONTENDS4, settings.frontend_entries())
        .map_max_entries(names::FRONTENDS6, settings.frontend_entries())
        .map_max_entries(
            names::TABLES,
            settings.tables() * table_stride(settings.table_slots),
        )
        .map_max_entries(names::BACKENDS, settings.backends)
        .map_max_entries(names::HOPS, settings.hops)
        .map_max_entries(names::NODES, settings.node_entries())
        .map_max_entries(names::CONNECTIONS4, settings.connections4)
        .map_max_entries(names::CONNECTIONS6, settings.connections6)
        .load(object)
}

fn directories(settings: &Settings) -> (PathBuf, PathBuf) {
    (
        settings.pin_dir.join("maps"),
        settings.pin_dir.join("links"),
    )
}

/// Unpins maps that another version or other settings made. The five that refer to each other
/// by number go together; the connection tables stay as long as they themselves fit.
fn discard_misshapen(directory: &Path, settings: &Settings) -> Result<(), LoadError> {
    let at = |name: &str| directory.join(name);
    let tables = settings.tables() * table_stride(settings.table_slots);
    let fits = has_shape::<FrontendKey4, FrontendEntry>(
        &at(names::FRONTENDS4),
        settings.frontend_entries(),
    ) && has_shape::<FrontendKey6, FrontendEntry>(
        &at(names::FRONTENDS6),
        settings.frontend_entries(),
    ) && has_shape::<u32, SlotPair>(&at(names::TABLES), tables)
        && has_shape::<u32, BackendEntry>(&at(names::BACKENDS), settings.backends)
        && has_shape::<u32, HopEntry>(&at(names::HOPS), settings.hops);
    let together = [
        names::FRONTENDS4,
        names::FRONTENDS6,
        names::TABLES,
        names::BACKENDS,
        names::HOPS,
    ];
    if !fits {
        tracing::info!("the sizes of the data path have changed; its tables are made anew");
        for name in together {
            unpin(&at(name))?;
        }
    }
    let verdicts = u32::try_from(Verdict::COUNT).unwrap_or(u32::MAX);
    let alone = [
        (
            names::NODES,
            has_shape::<InterfaceEntry, u32>(&at(names::NODES), settings.node_entries()),
        ),
        (
            names::CONNECTIONS4,
            has_shape::<ConnectionKey4, ConnectionEntry4>(
                &at(names::CONNECTIONS4),
                settings.connections4,
            ),
        ),
        (
            names::CONNECTIONS6,
            has_shape::<ConnectionKey6, ConnectionEntry6>(
                &at(names::CONNECTIONS6),
                settings.connections6,
            ),
        ),
        (
            names::COUNTERS,
            has_shape::<u32, u64>(&at(names::COUNTERS), verdicts),
        ),
        (
            names::BUDGET,
            has_shape::<u32, BudgetEntry>(&at(names::BUDGET), 1),
        ),
    ];
    for (name, fits) in alone {
        if !fits {
            unpin(&at(name))?;
        }
    }
    Ok(())
}

fn unpin(path: &Path) -> Result<(), LoadError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LoadError::Directory {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn make(directory: &Path) -> Result<(), LoadError> {
    fs::create_dir_all(directory).map_err(|source| LoadError::Directory {
        path: directory.to_owned(),
        source,
    })
}

/// The nearest existing ancestor of the pin directory must be on a bpffs.
fn require_bpffs(path: &Path) -> Result<(), LoadError> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let failed = |source| LoadError::Directory {
        path: existing.to_owned(),
        source,
    };
    let name = std::ffi::CString::new(existing.as_os_str().as_bytes())
        .map_err(|error| failed(error.into()))?;
    // SAFETY: all zeros is a valid structure for the call to fill, and the name ends with a zero.
    let (result, stat) = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        (libc::statfs(name.as_ptr(), &raw mut stat), stat)
    };
    if result < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    if stat.f_type != libc::BPF_FS_MAGIC {
        return Err(LoadError::NotBpffs {
            path: path.to_owned(),
        });
    }
    Ok(())
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
