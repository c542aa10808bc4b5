//! Who sent a packet to this node, and with which mark it may be sent on.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::records::BackendEntry;

use crate::family::Family;
use crate::maps;
use crate::packet::Packet;

/// The hop limit of a packet that is sent on for the first time.
pub(crate) const FIRST_MARK: u8 = 6;
/// A packet with this mark is not sent on any more. It is enough for the node's own forwarding to
/// the pod.
pub(crate) const LAST_MARK: u8 = 4;
/// But for this one, with which a node is asked whose announcer is away.
const AWAY_MARK: u8 = 3;

/// Who sent a packet to this node.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) mac: [u8; 6],
    /// Another node.
    pub(crate) is_node: bool,
    /// The mark it has left on the packet; zero if none.
    pub(crate) mark: u8,
    limit: u8,
}

impl Sender {
    #[inline(always)]
    pub(crate) fn of<F: Family>(packet: &Packet<F>) -> Result<Self, Verdict> {
        let mac = *packet.frame.bytes::<6>(6).ok_or(Verdict::Malformed)?;
        let is_node = maps::is_node(mac);
        let limit = packet.transport.hop_limit;
        let mark = if is_node && limit <= FIRST_MARK {
            limit
        } else {
            0
        };
        Ok(Self {
            mac,
            is_node,
            mark,
            limit,
        })
    }

    /// The mark with which the packet may be sent on; a hop limit is never raised.
    #[inline(always)]
    pub(crate) fn next_mark(&self) -> Option<u8> {
        if self.mark == 0 {
            (self.limit > FIRST_MARK).then_some(FIRST_MARK)
        } else {
            (self.mark > LAST_MARK).then_some(self.mark - 1)
        }
    }

    /// Whether the packet has been sent on as often as it may be.
    #[inline(always)]
    pub(crate) fn must_not_send_on(&self) -> bool {
        self.mark != 0 && self.mark <= LAST_MARK
    }

    /// The mark with which a node may be asked that is away.
    #[inline(always)]
    pub(crate) fn mark_for_away(&self) -> Option<u8> {
        if self.mark == LAST_MARK {
            return Some(AWAY_MARK);
        }
        self.next_mark()
    }

    /// Whether it is the node of `backend`.
    #[inline(always)]
    pub(crate) fn is_at(&self, backend: &BackendEntry) -> bool {
        maps::hop(backend.hop).is_some_and(|hop| hop.mac == self.mac)
    }
}
