//! How programs are attached, what came of it, and why not.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;
use landfall_bpf_lb_common::names;

/// How the program for received packets shall be attached. Where it is attached otherwise already, it goes there without a
/// gap, or stays where that cannot be had ([`AttachError::Stays`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver if that can do it and it is right there, else at TC, and before the network stack only if that is
    /// refused too.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// As packets enter the network stack (TC ingress), or not at all.
    Tc,
    /// Before the network stack (generic XDP).
    Generic,
}

/// Where the program for received packets runs on an interface, the best place first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum XdpPath {
    /// In the driver.
    Native,
    /// In the driver, whose frames may lie in several buffers (jumbo frames).
    Frags,
    /// As packets enter the network stack: the same at TC ingress.
    Tc,
    /// Before the network stack.
    Generic,
}

impl XdpPath {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Native, Self::Frags, Self::Tc, Self::Generic];

    /// Whether a program on the `other` path is one on this: in the driver its frames say which of the two it is.
    pub(crate) fn covers(self, other: Self) -> bool {
        self == other || (self, other) == (Self::Native, Self::Frags)
    }

    /// The program that runs there.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Frags => names::XDP_FRAGS,
            Self::Tc => names::TC,
            Self::Native | Self::Generic => names::XDP,
        }
    }
}

impl fmt::Display for XdpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Frags => "native-frags",
            Self::Tc => "tc",
            Self::Generic => "generic",
        })
    }
}

/// How an interface has the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Where the program for received packets runs.
    pub path: XdpPath,
    /// Why not in the driver, unless nobody wanted that.
    pub why_generic: Option<String>,
    /// It was there already, on this path or on another: this version has taken its place.
    pub replaced: bool,
}

/// Why an interface does not have the data path.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum AttachError {
    /// Another XDP program is there. It is left alone.
    #[error(
        "interface {ifindex} already runs another XDP program (id {prog_id}); remove it, or take the interface out of the policy"
    )]
    Occupied { ifindex: u32, prog_id: u32 },
    /// The interface could not be asked.
    #[error("interface {name}: {source}")]
    Interface { name: String, source: io::Error },
    /// The kernel refused the program.
    #[error("attaching {program} to {name}: {source}")]
    Program {
        program: &'static str,
        name: String,
        source: ProgramError,
    },
    /// The link could not be pinned, or a pin not be opened or removed.
    #[error("pinned link {path}: {source}")]
    Pin { path: PathBuf, source: io::Error },
    /// The VLAN tags of received frames are not seen in the driver.
    #[error(
        "{name} carries VLANs and takes their tags off before native XDP sees the frames, which would be sent on without: `ethtool -K {name} rxvlan off`, or attach the generic program"
    )]
    StrippedTags { name: String },
    /// What native XDP would send out of another interface is lost, and counted as sent.
    #[error(
        "{to} cannot transmit frames that native XDP on {name} sends out of it: they would be lost; attach the program at TC (--xdp-mode=tc), or take {to} out of the policy"
    )]
    CannotTransmit { name: String, to: String },
    /// Packets may pass ours by: what ends the chain of TC programs before it hides them from it.
    #[error(
        "another TC program (id {prog_id}) runs before {program} on {name}, and if it ends the chain, {what}; attach it after ours",
        what = if *program == names::EGRESS { "replies leave with the pod's address" } else { "packets take the kernel's path" }
    )]
    Preceded {
        program: &'static str,
        name: String,
        prog_id: u32,
    },
    /// Somebody else's filter is where ours belongs (before Linux 6.6). It is left alone.
    #[error(
        "on {name}, {filter} of somebody else's is at {direction} pref 1, where {program} belongs; remove it or give it another pref, run Linux 6.6 or later, which has room for both, or take the interface out of the policy"
    )]
    Taken {
        name: String,
        direction: &'static str,
        program: &'static str,
        filter: String,
    },
    /// Another queueing discipline is where that for our filters belongs (before Linux 6.6). It is left alone.
    #[error(
        "{name} has somebody else's queueing discipline {kind}, which knows no packets that leave, where clsact belongs, which filters of received packets can be in as well; remove it (`tc qdisc del dev {name} {kind}`, its filters go with it), run Linux 6.6 or later, or take the interface out of the policy"
    )]
    OtherDiscipline { name: String, kind: String },
    /// The mode cannot be had here; the program serves on where it was.
    #[error(
        "{name} goes on at {path}, for --xdp-mode cannot be had there: {why}; mend that and restart, or set another mode"
    )]
    Stays {
        name: String,
        path: XdpPath,
        why: String,
    },
    /// The map of interfaces could not be written.
    #[error("recording interface {ifindex}: {source}")]
    Map {
        ifindex: u32,
        source: aya::maps::MapError,
    },
}
