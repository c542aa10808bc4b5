//! The XDP program on an interface: in the driver where that is possible and right, in the network stack elsewhere.

use aya::Ebpf;
use aya::programs::ProgramError;

use super::program::{create_xdp, pin, program_on, remove_pin, replace_xdp};
use super::{AttachError, AttachMode, Attached, Links, XdpPath};
use crate::desired::Interface;
use crate::interface;

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
        if mode == AttachMode::Generic {
            return Ok(Ok(()));
        }
        if interface.is_trunk
            && let Some(port) = strips_tags(interface).map_err(failed)?
        {
            let refused = AttachError::StrippedTags { name: port };
            for path in [XdpPath::Native, XdpPath::Frags] {
                remove_pin(&self.xdp(path, ifindex))?;
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

    /// Where this very program runs on the interface, with the other one beside it.
    pub(super) fn running(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
    ) -> Result<Option<XdpPath>, AttachError> {
        let pinned = XdpPath::ALL
            .into_iter()
            .find(|path| self.xdp(*path, ifindex).exists());
        let Some(path) = pinned.filter(|_| self.egress(ifindex).exists()) else {
            return Ok(None);
        };
        let here = interface::xdp_program(ifindex).map_err(|source| AttachError::Interface {
            name: name.to_owned(),
            source,
        })?;
        let ours = program_on(ebpf, path)
            .and_then(|program| Ok(program.info()?.id()))
            .map_err(|source| of_program(path, name, source))?;
        Ok((here == Some(ours)).then_some(path))
    }

    pub(super) fn attach_xdp(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        mode: AttachMode,
        is_fit: Fit,
    ) -> Result<Attached, AttachError> {
        for path in XdpPath::ALL {
            let pin = self.xdp(path, ifindex);
            if pin.exists() {
                if replace_xdp(ebpf, path, &pin).map_err(|error| of_program(path, name, error))? {
                    return Ok(Attached {
                        path,
                        why_generic: is_fit.err(),
                        replaced: true,
                    });
                }
                remove_pin(&pin)?;
            }
        }
        let found = interface::xdp_program(ifindex).map_err(|source| AttachError::Interface {
            name: name.to_owned(),
            source,
        })?;
        if let Some(prog_id) = found {
            return Err(AttachError::Occupied { ifindex, prog_id });
        }
        let mut why_generic = is_fit.err();
        if mode != AttachMode::Generic && why_generic.is_none() {
            match self.attach_native(ebpf, ifindex) {
                Ok((path, link)) => {
                    pin(link, &self.xdp(path, ifindex))?;
                    return Ok(Attached {
                        path,
                        why_generic: None,
                        replaced: false,
                    });
                }
                Err(error) if mode == AttachMode::Native => {
                    return Err(of_program(XdpPath::Native, name, error));
                }
                Err(error) => why_generic = Some(refused(&error)),
            }
        }
        let path = XdpPath::Generic;
        let link =
            create_xdp(ebpf, ifindex, path).map_err(|error| of_program(path, name, error))?;
        pin(link, &self.xdp(path, ifindex))?;
        Ok(Attached {
            path,
            why_generic,
            replaced: false,
        })
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

fn refused(error: &ProgramError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!(
        "its driver refuses native XDP ({error}{})",
        cause.unwrap_or_default()
    )
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
