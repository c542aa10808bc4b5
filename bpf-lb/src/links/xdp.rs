//! Where the program for received packets belongs on an interface: in the driver where that is possible and right, at TC
//! elsewhere; and what is said of it. How it gets there is another file's.

use std::io;

use aya::Ebpf;
use landfall_bpf_lb_common::names;

use super::moving::{of_program, unoccupied};
use super::program::{classifier, id_on, remove_pin};
use super::{AttachError, AttachMode, Attached, Links, Placed, XdpPath};
use crate::desired::Interface;
use crate::interface;
use crate::sys::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS};

/// Why an interface is not fit for native XDP.
pub(super) type Fit = Result<(), String>;

impl Links {
    /// Whether native XDP is wanted and right here. Who wants nothing else has it taken off where it is not; who takes
    /// another place has it until that is taken.
    pub(super) fn fit_for_native(
        &self,
        ifindex: u32,
        interface: &Interface,
        mode: AttachMode,
        mute: Option<u32>,
    ) -> Result<Fit, AttachError> {
        let name = &interface.name;
        let failed = |source| AttachError::Interface {
            name: name.clone(),
            source,
        };
        if matches!(mode, AttachMode::Tc | AttachMode::Generic) {
            return Ok(Ok(()));
        }
        let tags = match interface.is_trunk {
            true => strips_tags(interface).map_err(failed)?,
            false => None,
        };
        let refused = match (tags, mute) {
            (Some(name), _) => AttachError::StrippedTags { name },
            (None, mute) => {
                if mode == AttachMode::Auto
                    && let Some(why) = interface::why_generic(name).map_err(failed)?
                {
                    return Ok(Err(why));
                }
                let Some(mute) = mute else {
                    return Ok(Ok(()));
                };
                AttachError::CannotTransmit {
                    name: name.clone(),
                    to: interface::name(mute).unwrap_or_else(|_| mute.to_string()),
                }
            }
        };
        if mode == AttachMode::Native {
            for path in [XdpPath::Native, XdpPath::Frags] {
                remove_pin(&self.on(path, ifindex))?;
            }
            if self.pinned(ifindex).next().is_none() {
                return Err(refused);
            }
        }
        Ok(Err(refused.to_string()))
    }

    /// Where the program for received packets shall be, without the places where it cannot be had.
    fn wanted(&self, ifindex: u32, mode: AttachMode, is_fit: &Fit) -> Vec<XdpPath> {
        let refused = self.refused.borrow();
        let is_refused = |path: &XdpPath| {
            let refused = refused.get(&ifindex);
            refused.is_some_and(|refused| refused.contains_key(path))
        };
        let mut wanted = order(mode, is_fit).to_vec();
        wanted.retain(|path| !is_refused(path));
        wanted
    }

    /// Where this very program runs on the interface, with the other one beside it, and no better place is to be had.
    pub(super) fn running(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
        is_fit: &Fit,
    ) -> Result<Option<XdpPath>, AttachError> {
        let mut pinned = self.pinned(ifindex);
        let (Some(path), None) = (pinned.next(), pinned.next()) else {
            return Ok(None);
        };
        let wanted = self.wanted(ifindex, mode, is_fit);
        let is_to_move = wanted.first().is_some_and(|first| !first.covers(path));
        if is_to_move || !self.egress(ifindex).exists() {
            return Ok(None);
        }
        let failed = |source| AttachError::Interface {
            name: name.to_owned(),
            source,
        };
        let here = if path == XdpPath::Tc {
            sys::chain(ifindex, BPF_TCX_INGRESS).map_err(failed)?
        } else {
            let program = interface::xdp_program(ifindex).map_err(failed)?;
            program.into_iter().collect()
        };
        let ours = id_on(ebpf, path).map_err(|source| of_program(path, name, source))?;
        let is_running = here.contains(&ours) && self.is_leaving(ebpf, ifindex, name)?;
        Ok(is_running.then_some(path))
    }

    /// Whether this very program sees what leaves: its pin alone says little, for a link can be detached by force. Before
    /// Linux 6.6 there is no pin, and nobody asks.
    fn is_leaving(&self, ebpf: &mut Ebpf, ifindex: u32, name: &str) -> Result<bool, AttachError> {
        if !self.tc_links {
            return Ok(true);
        }
        let failed = |source| AttachError::Program {
            program: names::EGRESS,
            name: name.to_owned(),
            source,
        };
        let program = classifier(ebpf, names::EGRESS).map_err(failed)?;
        let ours = program.info().map_err(failed)?.id();
        let chain =
            sys::chain(ifindex, BPF_TCX_EGRESS).map_err(|source| AttachError::Interface {
                name: name.to_owned(),
                source,
            })?;
        Ok(chain.contains(&ours))
    }

    /// Puts the program for received packets on an interface, at the best place that is to be had and wanted, or
    /// replaces it where it is. What is elsewhere goes once it is there; where it cannot be had, that stays.
    pub(super) fn attach_ingress(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
        is_fit: &Fit,
    ) -> Result<Placed, AttachError> {
        let mut here = self.replaced(ebpf, ifindex, name)?;
        let had = !here.is_empty();
        if !had {
            self.refused.borrow_mut().remove(&ifindex);
            if mode != AttachMode::Tc {
                unoccupied(ifindex, name)?;
            }
        }
        let mut result = Err(AttachError::Interface {
            name: name.to_owned(),
            source: io::Error::other("no place is left where the program could be"),
        });
        for wanted in self.wanted(ifindex, mode, is_fit) {
            result = self.put(ebpf, ifindex, name, wanted, order(mode, is_fit), &mut here);
            let Err(error) = &result else {
                break;
            };
            let mut refused = self.refused.borrow_mut();
            let refused = refused.entry(ifindex).or_default();
            refused.insert(wanted, why_not(wanted, error));
        }
        let path = match (result, here.first()) {
            (Ok(path), _) => path,
            (Err(_), Some(path)) => *path,
            (Err(error), None) => return Err(error),
        };
        for other in self.pinned(ifindex).filter(|other| *other != path) {
            self.take_off(ifindex, name, other)?;
        }
        Ok(self.placed(ifindex, name, mode, is_fit, path, had))
    }

    /// What is said of a program on this path.
    pub(super) fn placed(
        &self,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
        is_fit: &Fit,
        path: XdpPath,
        replaced: bool,
    ) -> Placed {
        let refused = self.refused.borrow();
        let refused = refused.get(&ifindex).into_iter().flatten();
        let unfit = is_fit.as_ref().err().map(|why| (&XdpPath::Native, why));
        let sentences = |before: Option<XdpPath>| {
            let all = unfit.into_iter().chain(refused.clone());
            let those = all.filter(|(of, _)| before.is_none_or(|before| **of < before));
            let mut those: Vec<&str> = those.map(|(_, why)| why.as_str()).collect();
            those.dedup();
            those.join("; ")
        };
        let is_native = XdpPath::Native.covers(path);
        let is_forced = matches!(mode, AttachMode::Auto | AttachMode::Native) && !is_native;
        let attached = Attached {
            path,
            why_generic: is_forced.then(|| sentences(Some(path))),
            replaced,
        };
        let is_wanted = order(mode, is_fit).iter().any(|wanted| wanted.covers(path));
        let stays = (!is_wanted).then(|| AttachError::Stays {
            name: name.to_owned(),
            path,
            why: sentences(None),
        });
        (attached, stays)
    }
}

/// Where a mode wants the program, the best place first.
fn order(mode: AttachMode, is_fit: &Fit) -> &'static [XdpPath] {
    match mode {
        AttachMode::Auto if is_fit.is_ok() => &[XdpPath::Native, XdpPath::Tc, XdpPath::Generic],
        AttachMode::Auto => &[XdpPath::Tc, XdpPath::Generic],
        AttachMode::Native if is_fit.is_ok() => &[XdpPath::Native],
        AttachMode::Native => &[],
        AttachMode::Tc => &[XdpPath::Tc],
        AttachMode::Generic => &[XdpPath::Generic],
    }
}

/// Why the program cannot be had on this path, in words.
fn why_not(path: XdpPath, error: &AttachError) -> String {
    let (what, source) = match (path, error) {
        // Also where it was only to serve meanwhile.
        (
            _,
            AttachError::Program {
                program, source, ..
            },
        ) if *program == names::TC => ("the kernel refuses it at TC", source),
        (XdpPath::Native, AttachError::Program { source, .. }) => {
            ("its driver refuses native XDP", source)
        }
        _ => return error.to_string(),
    };
    let cause = std::error::Error::source(source).map(|cause| format!(": {cause}"));
    format!("{what} ({source}{})", cause.unwrap_or_default())
}

/// The port of a trunk that takes tags off, if one does: of a bond it is its members that receive.
fn strips_tags(trunk: &Interface) -> io::Result<Option<String>> {
    let members = trunk.members.iter();
    let mut ports = members
        .map(|member| interface::name(*member))
        .collect::<Result<Vec<_>, _>>()?;
    if ports.is_empty() {
        ports.push(trunk.name.clone());
    }
    for port in ports {
        if interface::strips_tags(&port)? {
            return Ok(Some(port));
        }
    }
    Ok(None)
}
