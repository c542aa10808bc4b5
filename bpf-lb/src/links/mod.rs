//! The programs on interfaces: attaching, replacing and removing, by links that are pinned.
//!
//! A link's pin names what it is: `xdp-native-<ifindex>`, `xdp-generic-<ifindex>`,
//! `egress-<ifindex>`. So a restart finds everything without a file of its own.
//!
//! Invariant: a program of somebody else is never replaced or removed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, tc};
use aya::util::KernelVersion;
use landfall_bpf_lb_common::names;

use crate::interface;
use crate::sys;

/// How an XDP program shall be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Generic on veth, bridge and tap; native elsewhere if the driver can, else generic.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the network stack.
    Generic,
}

/// Where a program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpPath {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

impl fmt::Display for XdpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// What [`crate::Director::attach`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where the XDP program runs.
    pub path: XdpPath,
    /// It was there already; another version of it has been replaced without a gap.
    pub replaced: bool,
}

/// Why an interface does not have the data path.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program is there. It is left alone.
    #[error(
        "interface {ifindex} already runs another XDP program (id {prog_id}); remove it, or take the interface out of the policy"
    )]
    Occupied {
        /// The interface.
        ifindex: u32,
        /// That program.
        prog_id: u32,
    },
    /// The interface could not be asked.
    #[error("interface {name}: {source}")]
    Interface {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the program.
    #[error("attaching {program} to {name}: {source}")]
    Program {
        /// Which one.
        program: &'static str,
        /// The interface.
        name: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// The link could not be pinned, or a pin not be opened or removed.
    #[error("pinned link {path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The map of interfaces could not be written.
    #[error("recording interface {ifindex}: {source}")]
    Map {
        /// The interface.
        ifindex: u32,
        /// What went wrong.
        source: aya::maps::MapError,
    },
}

/// Priority and handle of our filter where links for TC do not exist (before Linux 6.6).
const FILTER_PRIORITY: u16 = 0xb1f;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// The pinned links below one directory.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
    /// Whether the kernel has links for TC programs.
    tc_links: bool,
}

impl Links {
    pub(crate) fn new(directory: PathBuf, tc_links: bool) -> Self {
        Self {
            directory,
            tc_links,
        }
    }

    /// The interfaces that have the programs, by their pins.
    pub(crate) fn interfaces(&self) -> Result<BTreeSet<u32>, AttachError> {
        let pins = self.pins()?;
        let index = |path: &PathBuf| file_name(path).rsplit('-').next()?.parse().ok();
        Ok(pins.iter().filter_map(index).collect())
    }

    /// Replaces the programs on all interfaces that have them by the ones in `ebpf`. Links whose
    /// interface is gone are cleared away.
    pub(crate) fn adopt(&self, ebpf: &mut Ebpf) -> Result<(), AttachError> {
        for path in self.pins()? {
            let is_egress = file_name(&path).starts_with("egress-");
            let replaced = if is_egress {
                replace_egress(ebpf, &path)
            } else {
                replace_xdp(ebpf, &path)
            };
            match replaced {
                Ok(true) => {}
                Ok(false) => remove_pin(&path)?,
                Err(source) => {
                    let program = if is_egress { names::EGRESS } else { names::XDP };
                    return Err(AttachError::Program {
                        program,
                        name: file_name(&path),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Attaches both programs to an interface, or replaces them there. Where they run already as links (since Linux 6.6),
    /// this is two look-ups: replacing a program waits for every CPU to have left the old one.
    pub(crate) fn attach(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
    ) -> Result<Attached, AttachError> {
        if let Some(path) = self.running(ebpf, ifindex, name)? {
            return Ok(Attached {
                path,
                replaced: true,
            });
        }
        let had_egress = self.attach_egress(ebpf, ifindex, name)?;
        let attached = self.attach_xdp(ebpf, ifindex, name, mode);
        if attached.is_err() && !had_egress {
            self.detach_egress(ifindex)?;
        }
        attached
    }

    /// Where this very program runs on the interface, with the other one beside it.
    fn running(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
    ) -> Result<Option<XdpPath>, AttachError> {
        let pinned = [XdpPath::Native, XdpPath::Generic]
            .into_iter()
            .find(|path| self.xdp(*path, ifindex).exists());
        let Some(path) = pinned.filter(|_| self.egress(ifindex).exists()) else {
            return Ok(None);
        };
        let here = interface::xdp_program(ifindex).map_err(|source| AttachError::Interface {
            name: name.to_owned(),
            source,
        })?;
        let ours = xdp_program(ebpf)
            .and_then(|program| Ok(program.info()?.id()))
            .map_err(|source| AttachError::Program {
                program: names::XDP,
                name: name.to_owned(),
                source,
            })?;
        Ok((here == Some(ours)).then_some(path))
    }

    fn attach_xdp(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
    ) -> Result<Attached, AttachError> {
        let failed = |source| AttachError::Program {
            program: names::XDP,
            name: name.to_owned(),
            source,
        };
        for path in [XdpPath::Native, XdpPath::Generic] {
            let pin = self.xdp(path, ifindex);
            if pin.exists() {
                if replace_xdp(ebpf, &pin).map_err(failed)? {
                    return Ok(Attached {
                        path,
                        replaced: true,
                    });
                }
                remove_pin(&pin)?;
            }
        }
        let of_interface = |source| AttachError::Interface {
            name: name.to_owned(),
            source,
        };
        if let Some(prog_id) = interface::xdp_program(ifindex).map_err(of_interface)? {
            return Err(AttachError::Occupied { ifindex, prog_id });
        }
        let generic = match mode {
            AttachMode::Auto => interface::wants_generic(name).map_err(of_interface)?,
            AttachMode::Native => false,
            AttachMode::Generic => true,
        };
        let path = if generic {
            XdpPath::Generic
        } else {
            XdpPath::Native
        };
        let (path, link) = match create_xdp(ebpf, ifindex, path) {
            Ok(link) => (path, link),
            Err(_) if mode == AttachMode::Auto && !generic => (
                XdpPath::Generic,
                create_xdp(ebpf, ifindex, XdpPath::Generic).map_err(failed)?,
            ),
            Err(source) => return Err(failed(source)),
        };
        pin(link, &self.xdp(path, ifindex))?;
        Ok(Attached {
            path,
            replaced: false,
        })
    }

    /// Returns whether it was there already.
    fn attach_egress(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
    ) -> Result<bool, AttachError> {
        let failed = |source| AttachError::Program {
            program: names::EGRESS,
            name: name.to_owned(),
            source,
        };
        let path = self.egress(ifindex);
        if path.exists() {
            if replace_egress(ebpf, &path).map_err(failed)? {
                return Ok(true);
            }
            remove_pin(&path)?;
        }
        let program = classifier(ebpf).map_err(failed)?;
        if !self.tc_links {
            attach_filter(program, name).map_err(failed)?;
            return Ok(false);
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        let id = program
            .attach_with_options(name, TcAttachType::Egress, order)
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link).map_err(|error| failed(wrong_link(error)))?;
        pin(link, &path)?;
        Ok(false)
    }

    /// Takes both programs off an interface.
    pub(crate) fn detach(&self, ifindex: u32) -> Result<(), AttachError> {
        for path in [XdpPath::Native, XdpPath::Generic] {
            remove_pin(&self.xdp(path, ifindex))?;
        }
        self.detach_egress(ifindex)
    }

    fn detach_egress(&self, ifindex: u32) -> Result<(), AttachError> {
        remove_pin(&self.egress(ifindex))?;
        if !self.tc_links
            && let Ok(name) = interface::name(ifindex)
        {
            detach_filter(&name)?;
        }
        Ok(())
    }

    /// Takes the programs off all interfaces.
    pub(crate) fn detach_all(&self) -> Result<(), AttachError> {
        for ifindex in self.interfaces()? {
            self.detach(ifindex)?;
        }
        Ok(())
    }

    fn pins(&self) -> Result<Vec<PathBuf>, AttachError> {
        let failed = |source| AttachError::Pin {
            path: self.directory.clone(),
            source,
        };
        match fs::read_dir(&self.directory) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    fn xdp(&self, path: XdpPath, ifindex: u32) -> PathBuf {
        self.directory.join(format!("xdp-{path}-{ifindex}"))
    }

    fn egress(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("egress-{ifindex}"))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

pub(crate) fn xdp_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut(names::XDP)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

pub(crate) fn classifier(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, ProgramError> {
    ebpf.program_mut(names::EGRESS)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

fn create_xdp(ebpf: &mut Ebpf, ifindex: u32, path: XdpPath) -> Result<FdLink, ProgramError> {
    let mode = match path {
        XdpPath::Native => XdpMode::Driver,
        XdpPath::Generic => XdpMode::Skb,
    };
    let program = xdp_program(ebpf)?;
    let id = program.attach_to_if_index(ifindex, mode)?;
    FdLink::try_from(program.take_link(id)?).map_err(wrong_link)
}

/// Makes the pinned link run this program; `false` if its interface is gone.
fn replace_xdp(ebpf: &mut Ebpf, path: &Path) -> Result<bool, ProgramError> {
    let link = XdpLink::try_from(open(path)?).map_err(wrong_link)?;
    let program = xdp_program(ebpf)?;
    still_there(
        program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map(drop),
    )
}

/// Makes the pinned link run this program; `false` if its interface is gone.
fn replace_egress(ebpf: &mut Ebpf, path: &Path) -> Result<bool, ProgramError> {
    let link = SchedClassifierLink::try_from(open(path)?).map_err(wrong_link)?;
    let program = classifier(ebpf)?;
    still_there(
        program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map(drop),
    )
}

fn still_there(result: Result<(), ProgramError>) -> Result<bool, ProgramError> {
    match result {
        Ok(()) => Ok(true),
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> Result<FdLink, ProgramError> {
    Ok(PinnedLink::from_pin(path).map_err(wrong_link)?.into())
}

fn wrong_link(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(error) => ProgramError::SyscallError(error),
        other => ProgramError::IOError(io::Error::other(other)),
    }
}

fn pin(link: FdLink, path: &Path) -> Result<(), AttachError> {
    link.pin(path).map(drop).map_err(|error| AttachError::Pin {
        path: path.to_owned(),
        source: io::Error::other(error),
    })
}

/// Detaches a link and removes its pin; one that is not there is no error.
fn remove_pin(path: &Path) -> Result<(), AttachError> {
    let failed = |source| AttachError::Pin {
        path: path.to_owned(),
        source,
    };
    match sys::detach_link(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever else is wrong with the link, without its pin it goes.
        Err(error) => {
            tracing::debug!(pin = %path.display(), %error, "detaching by removing the pin")
        }
        Ok(()) => {}
    }
    fs::remove_file(path).map_err(failed)
}

/// Links for TC programs came with Linux 6.6.
pub(crate) fn has_tc_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Before TC had links: a filter in the `clsact` queueing discipline, which outlives us by itself.
fn attach_filter(program: &mut SchedClassifier, name: &str) -> Result<(), ProgramError> {
    // It may be there already, ours or somebody else's.
    let _ = tc::qdisc_add_clsact(name);
    let options = NlOptions {
        priority: FILTER_PRIORITY,
        handle: FILTER_HANDLE,
        classid: None,
    };
    let id = match program.attach_with_options(
        name,
        TcAttachType::Egress,
        TcAttachOptions::Netlink(options),
    ) {
        Ok(id) => id,
        Err(_) => {
            let link = SchedClassifierLink::attached(
                name,
                TcAttachType::Egress,
                FILTER_PRIORITY,
                FILTER_HANDLE,
                None,
            )
            .map_err(ProgramError::IOError)?;
            program.attach_to_link(link)?
        }
    };
    // Dropping it would take the filter off.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn detach_filter(name: &str) -> Result<(), AttachError> {
    match tc::qdisc_detach_program(name, TcAttachType::Egress, names::EGRESS) {
        Err(tc::TcError::IoError(error)) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Interface {
                name: name.to_owned(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}
