//! A port: the two sockets of one interface, and what is sent through them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use landfall_wire::Mac;
use landfall_wire::announce::{Unasked, announcement};
use landfall_wire::buffer;

use super::counters::{Counters, count};
use crate::clock;
use crate::election::Now;
use crate::link::{IfIndex, PacketSocket, Protocol};

/// The open ports by interface.
pub(super) type Ports = BTreeMap<IfIndex, Arc<Port>>;

/// One interface with its sockets open.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) ifindex: IfIndex,
    pub(super) mac: Mac,
    pub(super) counters: Arc<Counters>,
    arp: PacketSocket,
    ndp: PacketSocket,
    /// When the listeners were last seen at work, in nanoseconds of [`clock::now`].
    worked_at: [AtomicU64; 2],
    /// Whether the listener is looking for a frame or has one in hand; it is not once it has found none.
    looks: [AtomicBool; 2],
}

fn place(protocol: Protocol) -> usize {
    usize::from(protocol == Protocol::Ndp)
}

impl Port {
    pub(super) fn open(ifindex: IfIndex, mac: Mac, counters: Arc<Counters>) -> io::Result<Self> {
        let arp = PacketSocket::open(ifindex, Protocol::Arp)?;
        let ndp = PacketSocket::open(ifindex, Protocol::Ndp)?;
        Ok(Self {
            ifindex,
            mac,
            counters,
            arp,
            ndp,
            worked_at: [0; 2].map(|_| AtomicU64::new(clock::nanos(clock::now()))),
            looks: [false; 2].map(AtomicBool::new),
        })
    }

    pub(super) fn socket(&self, protocol: Protocol) -> &PacketSocket {
        match protocol {
            Protocol::Arp => &self.arp,
            Protocol::Ndp => &self.ndp,
        }
    }

    /// The listener of the protocol is at work.
    pub(super) fn works(&self, protocol: Protocol) {
        self.worked_at[place(protocol)].store(clock::nanos(clock::now()), Ordering::Relaxed);
    }

    /// The listener of the protocol is about to read a frame, or has read the last one and answered it.
    pub(super) fn looks(&self, protocol: Protocol, looks: bool) {
        self.looks[place(protocol)].store(looks, Ordering::SeqCst);
    }

    /// Whether frames of the protocol have come that are not dealt with yet. What is read is in hand before it is not
    /// unread any more, so this misses none.
    pub(super) fn is_behind(&self, protocol: Protocol) -> bool {
        self.socket(protocol).has_unread() || self.looks[place(protocol)].load(Ordering::SeqCst)
    }

    /// When the one of the listeners was last at work that was not for longer.
    pub(super) fn progress(&self) -> Now {
        let [arp, ndp] = &self.worked_at;
        Now::from_nanos(arp.load(Ordering::Relaxed).min(ndp.load(Ordering::Relaxed)))
    }

    pub(super) fn sockets(&self) -> [&PacketSocket; 2] {
        [&self.arp, &self.ndp]
    }

    /// Announces an address once.
    pub(super) fn announce(&self, address: IpAddr) {
        for frame in announcement(address).0.into_iter().flatten() {
            // The timetable repeats it.
            let _ = self.send(frame);
        }
    }

    /// Sends a frame nobody asked for. What the kernel does not take is counted and not repeated.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn send(&self, unasked: Unasked) -> io::Result<()> {
        let mut frame = buffer();
        let length = unasked.emit(self.mac, &mut frame);
        let (protocol, counter) = self.kind(unasked);
        self.socket(protocol)
            .send(&frame[..length])
            .inspect(|()| count(counter))
            .inspect_err(|error| {
                count(&self.counters.unsent);
                tracing::debug!(ifindex = self.ifindex, ?unasked, %error, "a frame was not sent");
            })
    }

    fn kind(&self, unasked: Unasked) -> (Protocol, &AtomicU64) {
        match unasked {
            Unasked::ArpRequest(_) | Unasked::ArpReply(_) => {
                (Protocol::Arp, &self.counters.announced)
            }
            Unasked::Advertisement(_) => (Protocol::Ndp, &self.counters.announced),
            Unasked::ArpProbe(_) => (Protocol::Arp, &self.counters.probed),
            Unasked::Solicitation(_) => (Protocol::Ndp, &self.counters.probed),
        }
    }

    /// Takes over what the kernel has counted.
    pub(super) fn count_dropped(&self) {
        for socket in self.sockets() {
            if let Ok(dropped) = socket.take_dropped() {
                self.counters
                    .dropped
                    .fetch_add(u64::from(dropped), Ordering::Relaxed);
            }
        }
    }
}
