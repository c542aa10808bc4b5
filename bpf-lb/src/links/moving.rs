//! The program for received packets put on a path of an interface, moved from one to another, taken off.
//!
//! Invariant: what serves is taken off when the other serves, or, where there is room for one alone, while the program at
//! TC does. Where that cannot be had, a place that the mode allows is not given up for a better one.

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TcAttachType};
use landfall_bpf_lb_common::names;

use super::filter::{self, Side};
use super::program::{classifier, create_tc, create_xdp, pin, pin_program, remove_pin, replace_on};
use super::{AttachError, Links, XdpPath};
use crate::interface;
use crate::sys;

impl Links {
    /// The paths on which it is, by the pins.
    pub(super) fn pinned(&self, ifindex: u32) -> impl Iterator<Item = XdpPath> {
        let is_pinned = move |path: &XdpPath| self.on(*path, ifindex).exists();
        XdpPath::ALL.into_iter().filter(is_pinned)
    }

    /// Where the program is: this one, in the place of what was there.
    pub(super) fn replaced(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
    ) -> Result<Vec<XdpPath>, AttachError> {
        let mut here = Vec::new();
        for path in self.pinned(ifindex) {
            let pin = self.on(path, ifindex);
            if path == XdpPath::Tc && !self.tc_links {
                // The pin stays also without its filter: by it the interface is found again, and the other filter.
                if filter::is_there(ifindex, name, Side::Ingress)? {
                    self.attach_tc(ebpf, ifindex, name)?;
                    here.push(path);
                }
            } else if replace_on(ebpf, path, &pin).map_err(|error| of_program(path, name, error))? {
                here.push(path);
            } else {
                remove_pin(&pin)?;
            }
        }
        Ok(here)
    }

    /// Has the program on this path, unless it is `here` already. Before the network stack there is room for one: what
    /// is there is taken off first, and meanwhile the program at TC serves. If that cannot be had, what is there stays if it
    /// is `allowed`, and goes all the same if the mode wants it elsewhere.
    pub(super) fn put(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        wanted: XdpPath,
        allowed: &[XdpPath],
        here: &mut Vec<XdpPath>,
    ) -> Result<XdpPath, AttachError> {
        if let Some(path) = here.iter().copied().find(|path| wanted.covers(*path)) {
            return Ok(path);
        }
        if wanted == XdpPath::Tc {
            return self.attach_tc(ebpf, ifindex, name).map(|()| wanted);
        }
        let is_xdp = |path: &XdpPath| *path != XdpPath::Tc;
        let Some(before) = here.iter().copied().find(is_xdp) else {
            unoccupied(ifindex, name)?;
            return self.attach_xdp(ebpf, ifindex, name, wanted);
        };
        if !here.contains(&XdpPath::Tc) {
            match self.attach_tc(ebpf, ifindex, name) {
                Ok(()) => here.push(XdpPath::Tc),
                Err(error) if allowed.iter().any(|path| path.covers(before)) => return Err(error),
                Err(error) => {
                    tracing::warn!(interface = name, from = %before, to = %wanted, %error, "no program serves while it goes elsewhere");
                }
            }
        }
        self.take_off(ifindex, name, before)?;
        here.retain(|path| *path != before);
        self.attach_xdp(ebpf, ifindex, name, wanted)
            .inspect_err(|_| match self.attach_xdp(ebpf, ifindex, name, before) {
                Ok(path) => here.insert(0, path),
                Err(error) => tracing::warn!(%error, "what was there cannot be had back"),
            })
    }

    /// Takes the program for received packets off one path, once whatever had passed by the place of another one has passed
    /// by this as well.
    pub(super) fn take_off(
        &self,
        ifindex: u32,
        name: &str,
        path: XdpPath,
    ) -> Result<(), AttachError> {
        sys::let_packets_pass().map_err(|source| AttachError::Interface {
            name: name.to_owned(),
            source,
        })?;
        if path == XdpPath::Tc && !self.tc_links {
            filter::detach(ifindex, name, Side::Ingress)?;
        }
        remove_pin(&self.on(path, ifindex))
    }

    /// As packets enter the network stack. A filter (before Linux 6.6) has no link to be pinned: there the pin is the
    /// program's, and says that the filter is there.
    fn attach_tc(&self, ebpf: &mut Ebpf, ifindex: u32, name: &str) -> Result<(), AttachError> {
        let at = self.on(XdpPath::Tc, ifindex);
        let failed = |error| of_program(XdpPath::Tc, name, error);
        if self.tc_links {
            let link = create_tc(ebpf, names::TC, TcAttachType::Ingress, name).map_err(failed)?;
            return pin(link, &at);
        }
        let program = classifier(ebpf, names::TC).map_err(failed)?;
        let was_there = filter::attach(program, ifindex, name, Side::Ingress)?;
        let pinned = pin_program(program, &at);
        if pinned.is_err() && !was_there {
            filter::detach(ifindex, name, Side::Ingress)?;
        }
        pinned
    }

    /// Before the network stack, in the driver or behind it.
    fn attach_xdp(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
        name: &str,
        wanted: XdpPath,
    ) -> Result<XdpPath, AttachError> {
        let attached = if wanted == XdpPath::Generic {
            create_xdp(ebpf, ifindex, wanted).map(|link| (wanted, link))
        } else {
            self.attach_native(ebpf, ifindex)
        };
        let (path, link) = attached.map_err(|error| of_program(wanted, name, error))?;
        pin(link, &self.on(path, ifindex))?;
        Ok(path)
    }

    /// In the driver, for frames of one buffer if these are all that it has: looking at others costs a call for each.
    fn attach_native(
        &self,
        ebpf: &mut Ebpf,
        ifindex: u32,
    ) -> Result<(XdpPath, FdLink), ProgramError> {
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

/// Fails if an XDP program is on the interface, none of ours being there.
pub(super) fn unoccupied(ifindex: u32, name: &str) -> Result<(), AttachError> {
    let found = interface::xdp_program(ifindex).map_err(|source| AttachError::Interface {
        name: name.to_owned(),
        source,
    })?;
    match found {
        Some(prog_id) => Err(AttachError::Occupied { ifindex, prog_id }),
        None => Ok(()),
    }
}

pub(super) fn of_program(path: XdpPath, name: &str, source: ProgramError) -> AttachError {
    AttachError::Program {
        program: path.program(),
        name: name.to_owned(),
        source,
    }
}
