//! The addresses the packet sockets listen for, as the kernel's eBPF filter knows them.
//!
//! One map for all sockets, so that a change of addresses is a change of entries, and a frame costs a look-up in a hash
//! table however many there are. Where the kernel or its rules do not allow that, the classic filters of
//! [`super::PacketSocket::narrow`] have to do.
//!
//! Invariant: the map holds exactly what was last [`AddressFilter::set`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use landfall_bpf_lb::socket_filter::{FilterError, LeftOut, LeftOutCounts, Rates, SocketFilter};
use landfall_wire::Reason;

use super::{IfIndex, PacketSocket};

/// The loaded filter.
#[derive(Debug)]
pub struct AddressFilter {
    filter: SocketFilter,
    known: BTreeSet<(IpAddr, IfIndex)>,
}

impl AddressFilter {
    /// Loads it, knowing no address.
    ///
    /// # Errors
    /// What the kernel refused: without `CAP_BPF`, or too old.
    pub fn load() -> Result<(Self, FilterCounts), FilterError> {
        let (filter, counts) = SocketFilter::load(landfall_runtime::random::id())?;
        let filter = Self {
            filter,
            known: BTreeSet::new(),
        };
        Ok((filter, FilterCounts(counts)))
    }

    /// From now on these addresses are listened for, on these interfaces, and no others.
    ///
    /// # Errors
    /// What the kernel refused: more addresses than its map holds. The filter is of no use then.
    pub fn set(&mut self, wanted: BTreeSet<(IpAddr, IfIndex)>) -> Result<(), FilterError> {
        for &(address, ifindex) in wanted.difference(&self.known) {
            self.filter.insert(ifindex, address)?;
        }
        for &(address, ifindex) in self.known.difference(&wanted) {
            self.filter.remove(ifindex, address)?;
        }
        self.known = wanted;
        Ok(())
    }

    /// From now on each socket gets a frame in so long, in the long run, and after a pause what comes in the time of
    /// `burst` at once; who is heard when more ask is up to how they behave.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn hold_to(&mut self, frame: Duration, burst: Duration) -> Result<(), FilterError> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.filter.set_rates(Rates {
            frame: nanos(frame),
            burst: nanos(burst),
        })
    }

    /// Gives the filter to a socket, in place of the one it has.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(&mut self, socket: &PacketSocket) -> Result<(), FilterError> {
        self.filter.attach(socket.as_fd())
    }
}

/// What the filter has kept away.
#[derive(Debug)]
pub struct FilterCounts(LeftOutCounts);

impl FilterCounts {
    /// Frames kept away since it was loaded, by reason, on all interfaces together.
    #[must_use]
    pub fn read(&self) -> Vec<(Reason, u64)> {
        let count = |kept: LeftOut| Some((reason(kept), self.0.read(kept).ok()?));
        LeftOut::ALL.into_iter().filter_map(count).collect()
    }
}

/// The announcer's word for it.
const fn reason(kept: LeftOut) -> Reason {
    match kept {
        LeftOut::Tagged => Reason::VlanTagged,
        LeftOut::ToOthers => Reason::NotForUs,
        LeftOut::Outgoing => Reason::OwnFrame,
        LeftOut::NotNeighbour => Reason::NotNeighbour,
        LeftOut::NotKnown => Reason::NotOwned,
        LeftOut::Crowded => Reason::Crowded,
    }
}
