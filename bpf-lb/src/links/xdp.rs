//! The program for received packets on an interface: in the driver where that is possible and right, at TC elsewhere.

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use landfall_bpf_lb_common::names;

use super::program::{
    classifier, create_tc, create_xdp, id_on, pin, pin_program, remove_pin, replace_on,
};
use super::{AttachError, AttachMode, Attached, Links, XdpPath, filter};
use crate::desired::Interface;
use crate::interface;
use crate::sys::{self, BPF_TCX_INGRESS};

/// Why an interface is not fit for native XDP.
pub(super) type Fit = Result<(), String>;

impl Links {
    /// Whether native XDP is wanted and right here. What runs there although it is not is taken off.
    pub(super) fn fit_for_native(
        &self,
        ifindex: u32,
        interface: &Interface,
        mode: AttachMode,
    ) -> Result<Fit, AttachError> {
        let name = &interface.name;
        let failed = |source| AttachError::Interface {
            name: name.clone(),
            source,
        };
        if matches!(mode, AttachMode::Tc | AttachMode::Generic) {
            return Ok(Ok(()));
        }
        if interface.is_trunk
            && let Some(port) = strips_tags(interface).map_err(failed)?
        {
            let refused = AttachError::StrippedTags { name: port };
            for path in [XdpPath::Native, XdpPath::Frags] {
                remove_pin(&self.on(path, ifindex))?;
            }
            return match mode {
                AttachMode::Native => Err(refused),
                _ => Ok(Err(refused.to_string())),
            };
        }
        Ok(
            match (mode, interface::why_generic(name).map_err(failed)?) {
                (AttachMode::Auto, Some(why)) => Err(why),
                _ => Ok(()),
            },
        )
    }

    /// Where this very program runs on the interface, with the other one beside it, and no better place is to be had.
    pub(super) fn running(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
    ) -> Result<Option<XdpPath>, AttachError> {
        let pinned = |path: &XdpPath| self.on(*path, ifindex).exists();
        let Some(path) = XdpPath::ALL.into_iter().find(pinned) else {
            return Ok(None);
        };
        let is_to_move = match path {
            XdpPath::Tc => pinned(&XdpPath::Generic),
            XdpPath::Generic => self.may_move(mode, ifindex),
            XdpPath::Native | XdpPath::Frags => false,
        };
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
        Ok(here.contains(&ours).then_some(path))
    }

    /// Whether what runs before the network stack shall go to TC: an earlier version may have put it there.
    fn may_move(&self, mode: AttachMode, ifindex: u32) -> bool {
        mode == AttachMode::Auto && !self.without_tc.borrow().contains(&ifindex)
    }

    /// Puts the program for received packets on an interface, at the best place that is to be had and wanted, or
    /// replaces it where it is.
    pub(super) fn attach_ingress(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
        is_fit: Fit,
    ) -> Result<Attached, AttachError> {
        let mut why_generic = is_fit.err();
        let attached = |path, why_generic, replaced| Attached {
            path,
            why_generic,
            replaced,
        };
        for path in XdpPath::ALL {
            let pin = self.on(path, ifindex);
            if !pin.exists() {
                continue;
            }
            let generic = self.on(XdpPath::Generic, ifindex);
            if path == XdpPath::Generic
                && self.may_move(mode, ifindex)
                && self.attach_tc(ebpf, ifindex, name).is_ok()
            {
                // Both run for a moment: what the first has dealt with is none of the second's business.
                remove_pin(&generic)?;
                return Ok(attached(XdpPath::Tc, why_generic, true));
            }
            let replaced = if path == XdpPath::Tc && !self.tc_links {
                self.attach_tc(ebpf, ifindex, name).map(|()| true)
            } else {
                replace_on(ebpf, path, &pin).map_err(|error| of_program(path, name, error))
            };
            if replaced? {
                if path == XdpPath::Tc {
                    remove_pin(&generic)?;
                }
                return Ok(attached(path, why_generic, true));
            }
            remove_pin(&pin)?;
        }
        let found = interface::xdp_program(ifindex).map_err(|source| AttachError::Interface {
            name: name.to_owned(),
            source,
        })?;
        if let Some(prog_id) = found.filter(|_| mode != AttachMode::Tc) {
            return Err(AttachError::Occupied { ifindex, prog_id });
        }
        if matches!(mode, AttachMode::Auto | AttachMode::Native) && why_generic.is_none() {
            match self.attach_native(ebpf, ifindex) {
                Ok((path, link)) => {
                    pin(link, &self.on(path, ifindex))?;
                    return Ok(attached(path, None, false));
                }
                Err(error) if mode == AttachMode::Native => {
                    return Err(of_program(XdpPath::Native, name, error));
                }
                Err(error) => why_generic = Some(refused("its driver refuses native XDP", &error)),
            }
        }
        if matches!(mode, AttachMode::Auto | AttachMode::Tc) {
            match self.attach_tc(ebpf, ifindex, name) {
                Ok(()) => return Ok(attached(XdpPath::Tc, why_generic, false)),
                Err(error) if mode == AttachMode::Tc => return Err(error),
                Err(error) => {
                    let why = refused("the kernel refuses it at TC", &error);
                    why_generic = Some(
                        why_generic
                            .into_iter()
                            .chain([why])
                            .collect::<Vec<_>>()
                            .join("; "),
                    );
                }
            }
        }
        let path = XdpPath::Generic;
        let link =
            create_xdp(ebpf, ifindex, path).map_err(|error| of_program(path, name, error))?;
        pin(link, &self.on(path, ifindex))?;
        Ok(attached(path, why_generic, false))
    }

    /// As packets enter the network stack. A filter (before Linux 6.6) has no link to be pinned: there the pin is the
    /// program's, and says that the filter is there.
    fn attach_tc(&self, ebpf: &mut Ebpf, ifindex: u32, name: &str) -> Result<(), AttachError> {
        let at = self.on(XdpPath::Tc, ifindex);
        let attached = if self.tc_links {
            create_tc(ebpf, names::TC, TcAttachType::Ingress, name)
                .map_err(|error| of_program(XdpPath::Tc, name, error))
                .and_then(|link| pin(link, &at))
        } else {
            attach_filter(ebpf, name)
                .map_err(|error| of_program(XdpPath::Tc, name, error))
                .and_then(|program| pin_program(program, &at))
        };
        if attached.is_err() {
            self.without_tc.borrow_mut().insert(ifindex);
        }
        attached
    }

    /// In the driver, for frames of one buffer if these are all that it has: looking at others costs a call for each.
    fn attach_native(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
    ) -> Result<(XdpPath, aya::programs::links::FdLink), ProgramError> {
        let first = match create_xdp(ebpf, ifindex, XdpPath::Native) {
            Ok(link) => return Ok((XdpPath::Native, link)),
            Err(error) => error,
        };
        // What the first says is the driver's word; an older kernel knows no program of the second kind.
        match create_xdp(ebpf, ifindex, XdpPath::Frags) {
            Ok(link) => Ok((XdpPath::Frags, link)),
            Err(_) => Err(first),
        }
    }
}

fn of_program(path: XdpPath, name: &str, source: ProgramError) -> AttachError {
    AttachError::Program {
        program: path.program(),
        name: name.to_owned(),
        source,
    }
}

fn attach_filter<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    let program = classifier(ebpf, names::TC)?;
    filter::attach(program, name, TcAttachType::Ingress)?;
    Ok(program)
}

fn refused(what: &str, error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{what} ({error}{})", cause.unwrap_or_default())
}

/// The port of a trunk that takes tags off, if one does: of a bond it is its members that receive.
fn strips_tags(trunk: &Interface) -> std::io::Result<Option<String>> {
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
