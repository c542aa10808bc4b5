//! Where everything is pinned, and what of an earlier version must go from there.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::Pod;
use landfall_bpf_lb_common::places::PLACES;
use landfall_bpf_lb_common::records::{
    BackendEntry, ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
    FrontendEntry, FrontendKey4, FrontendKey6, HopEntry, INTERFACE_PLACES, InterfaceEntry, MacKey,
    NODE_WORDS, Place4, Place6, SamplingEntry, Slot, StateEntry, TurnoverEntry,
};
use landfall_bpf_lb_common::{Verdict, names};

use super::LoadError;
use crate::maps::has_shape;
use crate::settings::Settings;

pub(super) fn directories(settings: &Settings) -> (PathBuf, PathBuf) {
    (
        settings.pin_dir.join("maps"),
        settings.pin_dir.join("links"),
    )
}

/// Entries of a connection.
pub(super) const DIRECTIONS: u32 = 2;

/// Unpins maps that another version or other settings made. Those that refer to others by number go with them: frontends
/// to tables, tables to backends, backends to hops. The hops stay as long as they themselves fit, and so do the tables of
/// connections, which refer to hops alone.
pub(super) fn discard_misshapen(directory: &Path, settings: &Settings) -> Result<(), LoadError> {
    let at = |name: &str| directory.join(name);
    let together = [
        fits::<FrontendKey4, FrontendEntry>(names::FRONTENDS4, settings.frontend_map_entries()),
        fits::<FrontendKey6, FrontendEntry>(names::FRONTENDS6, settings.frontend_map_entries()),
        fits::<u32, Place4>(names::PLACES4, PLACES),
        fits::<u32, Place6>(names::PLACES6, PLACES),
        fits::<u32, Slot>(names::TABLES, settings.slots),
        fits::<u32, BackendEntry>(names::BACKENDS, settings.backends),
    ];
    let (hops, hops_fit) = fits::<u32, HopEntry>(names::HOPS, settings.hops);
    let hops_fit = hops_fit(&at(hops));
    if !hops_fit {
        unpin(&at(hops))?;
    }
    if !hops_fit || !together.iter().all(|(name, fits)| fits(&at(name))) {
        tracing::info!("the sizes of the data path have changed; its tables are made anew");
        for (name, _) in together {
            unpin(&at(name))?;
        }
    }
    let four = fits::<ConnectionKey4, ConnectionEntry4>;
    let six = fits::<ConnectionKey6, ConnectionEntry6>;
    let alone = [
        fits::<MacKey, u32>(names::NODES, settings.node_entries()),
        fits::<u32, u64>(names::NODE_BITS, NODE_WORDS),
        fits::<u32, InterfaceEntry>(names::INTERFACES, INTERFACES),
        fits::<u32, InterfaceEntry>(names::INTERFACE_PLACES, INTERFACE_PLACES),
        four(names::CONNECTIONS4, settings.connections4 * DIRECTIONS),
        six(names::CONNECTIONS6, settings.connections6 * DIRECTIONS),
        four(names::HALF_OPEN4, settings.half_open4 * DIRECTIONS),
        six(names::HALF_OPEN6, settings.half_open6 * DIRECTIONS),
        fits::<u32, TurnoverEntry>(names::TURNOVER, 1),
        fits::<u32, StateEntry>(names::STATE, 1),
        fits::<u32, [u64; Verdict::COUNT]>(names::COUNTERS, 1),
        fits::<u32, SamplingEntry>(names::SAMPLING, 1),
    ];
    for (name, fits) in alone {
        if !fits(&at(name)) {
            unpin(&at(name))?;
        }
    }
    discard_other_versions(directory)
}

/// Entries of the map of interfaces, as the object says.
const INTERFACES: u32 = 64;

/// A map's name, and whether what is pinned has its shape.
type Shape = (&'static str, Box<dyn Fn(&Path) -> bool>);

fn fits<K: Pod, V: Pod>(name: &'static str, entries: u32) -> Shape {
    (name, Box::new(move |path| has_shape::<K, V>(path, entries)))
}

/// Unpins maps whose names carry another version.
fn discard_other_versions(directory: &Path) -> Result<(), LoadError> {
    let failed = |source| LoadError::Directory {
        path: directory.to_owned(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !names::MAPS.iter().any(|name| entry.file_name() == *name) {
            tracing::info!(map = ?entry.file_name(), "a map of another version goes");
            unpin(&entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn unpin(path: &Path) -> Result<(), LoadError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LoadError::Directory {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

pub(super) fn make(directory: &Path) -> Result<(), LoadError> {
    fs::create_dir_all(directory).map_err(|source| LoadError::Directory {
        path: directory.to_owned(),
        source,
    })
}

/// The nearest existing ancestor of the pin directory must be on a bpffs.
pub(super) fn require_bpffs(path: &Path) -> Result<(), LoadError> {
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
