//! The programs on the wanted interfaces, and no others.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::MapError;
use landfall_bpf_lb_common::records::InterfaceEntry;

use super::Director;
use crate::desired::{Desired, Interface};
use crate::links::{AttachError, AttachMode, Attached, Placed};
use crate::xdp_features::{Transmits, transmits};

/// What became of the wanted interfaces.
#[derive(Default)]
pub(super) struct AllAttached {
    pub(super) interfaces: BTreeMap<u32, Attached>,
    pub(super) problems: Vec<AttachError>,
}

impl Director {
    /// Puts the programs on all interfaces. Many drivers say only of one that runs a program that it can transmit what native
    /// XDP sends out of it; then it is looked at once more who is right in the driver. Of one that runs ours already, as
    /// after a restart, the first look says the same: no other driver is turned over to find that out.
    pub(super) fn attach_all(&mut self, desired: &Desired) -> AllAttached {
        if self.mute.is_none() {
            let mute = self.mute(desired, |to, transmits| match transmits {
                Transmits::Yes => false,
                Transmits::NotNow => self.links.is_in_driver(to),
                Transmits::Never => true,
            });
            self.mute = Some(mute);
        }
        let all = self.attach_each(desired);
        let mute = Some(self.mute(desired, |_, transmits| transmits != Transmits::Yes));
        if self.mute == mute {
            return all;
        }
        self.mute = mute;
        self.attach_each(desired)
    }

    fn attach_each(&mut self, desired: &Desired) -> AllAttached {
        let mut all = AllAttached::default();
        for (ifindex, interface) in &desired.interfaces {
            match self.attach(*ifindex, interface) {
                Ok((attached, stays)) => {
                    all.interfaces.insert(*ifindex, attached);
                    all.problems.extend(stays);
                    all.problems.extend(
                        self.links
                            .is_first(self.programs.attached(), *ifindex, &interface.name)
                            .err(),
                    );
                }
                Err(error) => all.problems.push(error),
            }
        }
        all
    }

    /// The interfaces that packets are sent out of which came in by another one, and that are mute, by what their drivers
    /// say. Where the kernel does not tell (before Linux 6.3), none is.
    fn mute(&self, desired: &Desired, is_mute: impl Fn(u32, Transmits) -> bool) -> BTreeSet<u32> {
        if !matches!(self.settings.attach, AttachMode::Auto | AttachMode::Native) {
            return BTreeSet::new();
        }
        let hops = self.programmed.iter().flat_map(|now| now.hops.values());
        let mut out_of: BTreeSet<u32> = hops.map(|hop| hop.ifindex).collect();
        out_of.retain(|to| {
            *to != 0
                && desired.interfaces.keys().any(|by| by != to)
                && transmits(*to).is_some_and(|transmits| is_mute(*to, transmits))
        });
        out_of
    }

    /// Takes the programs off every interface that is not wanted, whoever attached them.
    pub(super) fn detach_others(&mut self, desired: &Desired) -> Vec<AttachError> {
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

    /// Puts the programs on an interface; where they run already this is three look-ups (since Linux
    /// 6.6). The interface's records come first and do not outlive a failure.
    fn attach(&mut self, ifindex: u32, interface: &Interface) -> Result<Placed, AttachError> {
        self.record(ifindex, interface)
            .map_err(|source| AttachError::Map { ifindex, source })?;
        let mode = self.settings.attach;
        let programs = self.programs.attached();
        let mut mute = self.mute.iter().flatten();
        let mute = mute.find(|other| **other != ifindex);
        let attached = self
            .links
            .attach(programs, ifindex, interface, mode, mute.copied());
        if attached.is_err() && !self.links.interfaces()?.contains(&ifindex) {
            self.forget(ifindex)?;
        }
        attached
    }

    /// Records an interface and, of a bond, its members.
    fn record(&mut self, ifindex: u32, interface: &Interface) -> Result<(), MapError> {
        let left = |(index, entry): &(u32, InterfaceEntry)| {
            entry.device == ifindex && *index != ifindex && !interface.members.contains(index)
        };
        for (index, _) in self
            .maps
            .interfaces()
            .read()?
            .iter()
            .filter(|known| left(known))
        {
            self.maps.interfaces().remove(*index)?;
        }
        for index in interface.members.iter().chain([&ifindex]) {
            self.maps.interfaces().set(*index, ifindex, interface.mac)?;
        }
        Ok(())
    }

    /// Takes the programs off an interface; it need not exist any more.
    fn detach(&mut self, ifindex: u32) -> Result<(), AttachError> {
        self.links.detach(ifindex)?;
        self.forget(ifindex)
    }

    fn forget(&mut self, ifindex: u32) -> Result<(), AttachError> {
        let failed = |source| AttachError::Map { ifindex, source };
        for (index, entry) in self.maps.interfaces().read().map_err(failed)? {
            if entry.device == ifindex {
                self.maps.interfaces().remove(index).map_err(failed)?;
            }
        }
        Ok(())
    }
}
