//! How large the data path is, and where it lives.

use std::path::PathBuf;

use crate::links::AttachMode;
use crate::{links, maglev};

/// What [`crate::Director::load`] needs to know. Changing a size on a running node rebuilds the
/// maps that depend on it; everything else is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A directory on a bpffs; maps and links are pinned below it.
    pub pin_dir: PathBuf,
    /// Frontends, both families together.
    pub frontends: u32,
    /// Slots of all their tables together, of 8 bytes each: as many as the frontends' backends need, and something
    /// to build the next ones in. A multiple of [`maglev::LARGEST`].
    pub slots: u32,
    /// Backends, at most 65,535.
    pub backends: u32,
    /// Other nodes.
    pub hops: u32,
    /// Connections delivered on this node at a time, IPv4.
    pub connections4: u32,
    /// Connections delivered on this node at a time, IPv6.
    pub connections6: u32,
    /// Connections that are not confirmed yet, IPv4; a flood of them evicts its own.
    pub half_open4: u32,
    /// Connections that are not confirmed yet, IPv6.
    pub half_open6: u32,
    /// The cluster's secret for the flow hash. The same on every node, or they choose different
    /// backends.
    pub seed: u64,
    /// Where the XDP program is put on an interface.
    pub attach: AttachMode,
    /// TC programs are attached by links, which Linux has since 6.6; by a `clsact` filter otherwise.
    pub tc_links: bool,
}

impl Settings {
    /// The defaults, below `pin_dir`.
    #[must_use]
    pub fn new(pin_dir: impl Into<PathBuf>) -> Self {
        Self {
            pin_dir: pin_dir.into(),
            frontends: 10_000,
            slots: 144 * maglev::LARGEST,
            backends: 65_535,
            hops: 4_096,
            connections4: 262_144,
            connections6: 65_536,
            half_open4: 65_536,
            half_open6: 32_768,
            seed: 0,
            attach: AttachMode::Auto,
            tc_links: links::has_tc_links(),
        }
    }

    /// Room for the frontends of before and after a change, because removals come last.
    pub(crate) fn frontend_entries(&self) -> u32 {
        self.frontends * 2
    }

    /// Entries of a map of them: each may have an address of its own, whose echo requests are answered.
    pub(crate) fn frontend_map_entries(&self) -> u32 {
        self.frontend_entries() * 2
    }

    /// Room for the nodes of before and after a change, by MAC address.
    pub(crate) fn node_entries(&self) -> u32 {
        self.hops * 2
    }
}
