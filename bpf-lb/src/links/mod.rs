//! The programs on interfaces: attaching, replacing and removing, by links that are pinned.
//!
//! A link's pin names what it is: `xdp-native-<ifindex>`, `xdp-native-frags-<ifindex>`,
//! `xdp-generic-<ifindex>`, `egress-<ifindex>`. So a restart finds everything without a file of its own.
//!
//! Invariant: a program of somebody else is never replaced or removed.

mod attached;
mod filter;
mod program;
mod xdp;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use landfall_bpf_lb_common::names;

pub use attached::{AttachError, AttachMode, Attached, XdpPath};
pub(crate) use filter::has_tc_links;
pub(crate) use program::{classifier, feeder, xdp_program};
use program::{pin, remove_pin, replace_egress, replace_xdp, wrong_link};

use crate::desired::Interface;
use crate::interface;
use crate::sys::first_of_egress;

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
            let name = file_name(&path);
            let is_egress = name.starts_with("egress-");
            let on = |on: &XdpPath| name.starts_with(&format!("xdp-{on}-"));
            let on = XdpPath::ALL.iter().rev().copied().find(|path| on(path));
            let on = on.unwrap_or(XdpPath::Native);
            let replaced = if is_egress {
                replace_egress(ebpf, &path)
            } else {
                replace_xdp(ebpf, on, &path)
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
    /// this is two look-ups: replacing a program waits for every CPU to have left the old one.
    pub(crate) fn attach(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        interface: &Interface,
        mode: AttachMode,
    ) -> Result<Attached, AttachError> {
        let name = &interface.name;
        let is_fit = self.fit_for_native(ifindex, interface, mode)?;
        if let Some(path) = self.running(ebpf, ifindex, name)? {
            return Ok(Attached {
                path,
                why_generic: is_fit.err(),
                replaced: true,
            });
        }
        let had_egress = self.attach_egress(ebpf, ifindex, name)?;
        let attached = self.attach_xdp(ebpf, ifindex, name, mode, is_fit);
        if attached.is_err() && !had_egress {
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
        let mut first = || -> Result<Option<u32>, ProgramError> {
            let ours = classifier(ebpf)?.info()?.id();
            let first = first_of_egress(ifindex)?;
            Ok(first.filter(|id| *id != ours))
        };
        match first() {
            Ok(None) => Ok(()),
            Ok(Some(prog_id)) => Err(AttachError::Preceded {
                name: name.to_owned(),
                prog_id,
            }),
            Err(source) => Err(AttachError::Program {
                program: names::EGRESS,
                name: name.to_owned(),
                source,
            }),
        }
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
            filter::attach(program, name).map_err(failed)?;
            return Ok(false);
        }
        // Before everybody else, or one that ends the chain would let replies leave unchanged. Ours
        // never ends it.
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(name, TcAttachType::Egress, order)
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link).map_err(|error| failed(wrong_link(error)))?;
        pin(link, &path)?;
        Ok(false)
    }

    /// Takes both programs off an interface. The pins go last: by them it is found again, should
    /// something fail.
    pub(crate) fn detach(&self, ifindex: u32) -> Result<(), AttachError> {
        self.detach_filter(ifindex)?;
        for path in XdpPath::ALL {
            remove_pin(&self.xdp(path, ifindex))?;
        }
        remove_pin(&self.egress(ifindex))
    }

    fn detach_egress(&self, ifindex: u32) -> Result<(), AttachError> {
        self.detach_filter(ifindex)?;
        remove_pin(&self.egress(ifindex))
    }

    /// Takes off what has no pin of its own.
    fn detach_filter(&self, ifindex: u32) -> Result<(), AttachError> {
        match interface::name(ifindex) {
            Ok(name) if !self.tc_links => filter::detach(&name),
            _ => Ok(()),
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
