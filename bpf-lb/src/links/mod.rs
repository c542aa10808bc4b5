//! The programs on interfaces: attaching, replacing and removing, by links that are pinned.
//!
//! A link's pin names what it is: `xdp-native-<ifindex>`, `xdp-native-frags-<ifindex>`,
//! `xdp-generic-<ifindex>`, `xdp-tc-<ifindex>`, `egress-<ifindex>`. So a restart finds everything without a file of its own.
//!
//! Invariants: a program or a filter of somebody else is never replaced or removed; what serves stays until the other does.

mod attached;
mod filter;
mod listing;
mod moving;
mod program;
mod xdp;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::{ProgramError, TcAttachType};
use landfall_bpf_lb_common::names;

pub use attached::{AttachError, AttachMode, Attached, XdpPath};
use filter::Side;
pub(crate) use filter::has_tc_links;
pub(crate) use program::{classifier, feeder, id_on, uninterrupted, xdp_program};
use program::{create_tc, detach_link, pin, remove_pin, replace_on, replace_tc};

use crate::desired::Interface;
use crate::interface;
use crate::sys::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS};

/// The pinned links below one directory.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
    /// Whether the kernel has links for TC programs.
    tc_links: bool,
    /// Where the program for received packets could not be put, of an interface that has it elsewhere, and why: so that it
    /// is not tried over and over.
    refused: RefCell<BTreeMap<u32, Refusals>>,
}

/// Why the program cannot be had on these paths of an interface.
type Refusals = BTreeMap<XdpPath, String>;

/// How an interface has the programs, and why not as it was wanted, if so.
pub(crate) type Placed = (Attached, Option<AttachError>);

impl Links {
    pub(crate) fn new(directory: PathBuf, tc_links: bool) -> Self {
        Self {
            directory,
            tc_links,
            refused: RefCell::default(),
        }
    }

    /// The interfaces that have the programs, by their pins.
    pub(crate) fn interfaces(&self) -> Result<BTreeSet<u32>, AttachError> {
        let pins = self.pins()?;
        let index = |path: &PathBuf| file_name(path).rsplit('-').next()?.parse().ok();
        Ok(pins.iter().filter_map(index).collect())
    }

    /// The paths on which interfaces have the program for received packets.
    pub(crate) fn paths(&self) -> Result<BTreeSet<XdpPath>, AttachError> {
        let pins = self.pins()?;
        Ok(pins
            .iter()
            .filter_map(|path| path_of(&file_name(path)))
            .collect())
    }

    /// Whether an interface has the program for received packets in its driver.
    pub(crate) fn is_in_driver(&self, ifindex: u32) -> bool {
        self.pinned(ifindex)
            .any(|path| matches!(path, XdpPath::Native | XdpPath::Frags))
    }

    /// Replaces the programs on all interfaces that have them by the ones in `ebpf`. Links whose
    /// interface is gone are cleared away.
    pub(crate) fn adopt(&self, ebpf: &mut Ebpf) -> Result<(), AttachError> {
        for path in self.pins()? {
            let name = file_name(&path);
            let is_egress = name.starts_with("egress-");
            let on = path_of(&name).unwrap_or(XdpPath::Native);
            if on == XdpPath::Tc && !self.tc_links {
                // The filter has no link: it gets its program with the first wanted state.
                continue;
            }
            let replaced = if is_egress {
                replace_tc(ebpf, names::EGRESS, &path)
            } else {
                replace_on(ebpf, on, &path)
            };
            match replaced {
                Ok(true) => {}
                Ok(false) => remove_pin(&path)?,
                Err(source) => {
                    let program = if is_egress {
                        names::EGRESS
                    } else {
                        on.program()
                    };
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
    /// this is three look-ups: replacing a program waits for every CPU to have left the old one. Where it fails, whatever
    /// was there stays, unless somebody else has taken the place of the filter for replies: then nothing may be delivered.
    /// `mute` is another interface, out of which packets are sent that come in by this one, and that cannot transmit what
    /// native XDP sends there.
    pub(crate) fn attach(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        interface: &Interface,
        mode: AttachMode,
        mute: Option<u32>,
    ) -> Result<Placed, AttachError> {
        let name = &interface.name;
        let is_fit = self.fit_for_native(ifindex, interface, mode, mute)?;
        if let Some(path) = self.running(ebpf, ifindex, name, mode, &is_fit)? {
            return Ok(self.placed(ifindex, name, mode, &is_fit, path, true));
        }
        let had_egress = match self.attach_egress(ebpf, ifindex, name) {
            Ok(had_egress) => had_egress,
            Err(taken @ (AttachError::Taken { .. } | AttachError::OtherDiscipline { .. })) => {
                // Replies to what is delivered would leave with the pod's address.
                for path in self.pinned(ifindex) {
                    self.take_off(ifindex, name, path)?;
                }
                self.refused.borrow_mut().remove(&ifindex);
                return Err(taken);
            }
            Err(error) => return Err(error),
        };
        let attached = self.attach_ingress(ebpf, ifindex, name, mode, &is_fit);
        if attached.is_err() && !had_egress && self.pinned(ifindex).next().is_none() {
            self.detach_egress(ifindex)?;
        }
        attached
    }

    /// Whether somebody else's TC program runs before ours, which was the first when it came.
    pub(crate) fn is_first(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
    ) -> Result<(), AttachError> {
        if !self.tc_links {
            return Ok(());
        }
        let mut chains = vec![(names::EGRESS, BPF_TCX_EGRESS)];
        if self.on(XdpPath::Tc, ifindex).exists() {
            chains.push((names::TC, BPF_TCX_INGRESS));
        }
        for (program, chain) in chains {
            let mut first = || -> Result<Option<u32>, ProgramError> {
                let ours = classifier(ebpf, program)?.info()?.id();
                let chain = sys::chain(ifindex, chain)?;
                Ok(chain.first().copied().filter(|id| *id != ours))
            };
            let name = name.to_owned();
            match first() {
                Ok(None) => {}
                Ok(Some(prog_id)) => {
                    return Err(AttachError::Preceded {
                        program,
                        name,
                        prog_id,
                    });
                }
                Err(source) => {
                    return Err(AttachError::Program {
                        program,
                        name,
                        source,
                    });
                }
            }
        }
        Ok(())
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
            if replace_tc(ebpf, names::EGRESS, &path).map_err(failed)? {
                return Ok(true);
            }
            remove_pin(&path)?;
        }
        if !self.tc_links {
            let program = classifier(ebpf, names::EGRESS).map_err(failed)?;
            return filter::attach(program, ifindex, name, Side::Egress);
        }
        let link = create_tc(ebpf, names::EGRESS, TcAttachType::Egress, name).map_err(failed)?;
        pin(link, &path)?;
        Ok(false)
    }

    /// Takes both programs off an interface, that for replies last: what has been delivered is answered. The pins outlive
    /// what has none: by them the interface is found again, should something fail.
    pub(crate) fn detach(&self, ifindex: u32) -> Result<(), AttachError> {
        self.refused.borrow_mut().remove(&ifindex);
        if !self.tc_links {
            for path in [XdpPath::Native, XdpPath::Frags, XdpPath::Generic] {
                detach_link(&self.on(path, ifindex))?;
            }
            for side in [Side::Ingress, Side::Egress] {
                self.detach_filter(ifindex, side)?;
            }
        }
        for path in XdpPath::ALL {
            remove_pin(&self.on(path, ifindex))?;
        }
        remove_pin(&self.egress(ifindex))
    }

    fn detach_egress(&self, ifindex: u32) -> Result<(), AttachError> {
        self.detach_filter(ifindex, Side::Egress)?;
        remove_pin(&self.egress(ifindex))
    }

    /// Takes off what has no pin of its own.
    fn detach_filter(&self, ifindex: u32, side: Side) -> Result<(), AttachError> {
        if self.tc_links {
            return Ok(());
        }
        match interface::name(ifindex) {
            Ok(name) => filter::detach(ifindex, &name, side),
            Err(error) if interface::is_gone(&error) => Ok(()),
            Err(source) => Err(AttachError::Interface {
                name: ifindex.to_string(),
                source,
            }),
        }
    }

    /// Takes the programs off all interfaces, whatever becomes of one of them; what failed.
    pub(crate) fn detach_all(&self) -> Vec<AttachError> {
        match self.interfaces() {
            Ok(all) => all
                .into_iter()
                .filter_map(|ifindex| self.detach(ifindex).err())
                .collect(),
            Err(error) => vec![error],
        }
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

    fn on(&self, path: XdpPath, ifindex: u32) -> PathBuf {
        self.directory.join(format!("xdp-{path}-{ifindex}"))
    }

    fn egress(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("egress-{ifindex}"))
    }
}

/// The path that the pin of a link names, if it is of the program for received packets.
fn path_of(name: &str) -> Option<XdpPath> {
    let is_on = |path: &XdpPath| name.starts_with(&format!("xdp-{path}-"));
    XdpPath::ALL.iter().rev().copied().find(is_on)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
