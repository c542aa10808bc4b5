//! Which pod or which node a packet goes to.
//!
//! A new connection goes to the current backend of its slot. Later segments go where the connection
//! is: the current backend's node knows it, or knows who has it, or asks the nodes of the slot's
//! previous backends, one after the other:
//!
//! ```text
//!   director ──► current's node ──6──► previous' node ──5──► the one before ──4──► current's node
//!                knows it: deliver     knows it: deliver     knows it: deliver     asks whoever is
//!                                                                                  away, or adopts it
//! ```
//! A connection that its slot does not remember any more has an entry at the current backend's node,
//! made by the node that has it: that one is asked, and nobody else.
//!
//! A node that does not know it either may have older tables than the director. It sends it back, and
//! the director asks the previous backends that its own table has. And a node whose announcer is away
//! has told nobody of late: it is asked for what nobody knows, as the last one.
//!
//! A connection that is over has an entry for a while, for the last words of both ends. Its client's next
//! one from the same port may be elsewhere: so whoever else can have it is asked first.
//!
//! An ICMP error goes where a segment of the connection that it quotes would go; but nobody takes it in.
//!
//! The numbers are hop limits. They are the marks by which a node sees how often a packet has been
//! sent on already: only a frame from another node carries one, each is lower than the one before,
//! and nothing is sent on below [`LAST_MARK`]. So nodes whose tables differ for a moment cannot
//! play ping-pong, and no header is needed to say so.

use landfall_bpf_lb_common::Verdict;
use landfall_bpf_lb_common::headers::UDP;
use landfall_bpf_lb_common::records::{BackendEntry, ConnectionState, FrontendEntry, Slot};

use crate::connections::{self, Known};
use crate::family::{Family, Pod};
use crate::maps;
use crate::packet::{Course, Packet};
use crate::sender::{FIRST_MARK, LAST_MARK, Sender};
use crate::shared;

/// So many slots are looked through for another pod of this node.
const SEARCH: u32 = 16;

/// The course of `packet`. What is recorded of it here is recorded before it is changed.
#[inline(always)]
pub(crate) fn course<F: Family>(packet: &Packet<F>) -> Result<Course<F>, Verdict> {
    let slot = maps::slot(packet.table, packet.slot).ok_or(Verdict::NoBackend)?;
    let previous = [
        maps::backend(slot.previous[0]),
        maps::backend(slot.previous[1]),
    ];
    let current = maps::backend(slot.current);
    let is_nobodys = current.is_some_and(|one| one.hop == BackendEntry::NOBODY);
    // Where nothing takes new connections, the last to have taken some is the one to ask.
    let (current, takes_new) = match (current.filter(|_| !is_nobodys), previous[0]) {
        (Some(current), _) => (current, true),
        (None, Some(previous)) => (previous, false),
        (None, None) if is_nobodys => return Ok(Course::Refuse),
        (None, None) => return Err(Verdict::NoBackend),
    };
    if packet.transport.opens() && !takes_new {
        if is_nobodys {
            return Ok(Course::Refuse);
        }
        return Err(Verdict::NoBackend);
    }
    let is_here = |backend: &Option<&BackendEntry>| backend.is_some_and(|one| one.hop == 0);
    let any_here = current.hop == 0 || is_here(&previous[0]) || is_here(&previous[1]);
    // A packet that bears a mark may be of a connection that no slot remembers any more: whoever sent
    // it was told that it is here.
    let may_be_marked = packet.transport.hop_limit <= FIRST_MARK;
    let is_closed = packet.flags & FrontendEntry::CLOSED != 0;
    if any_here || may_be_marked || is_closed || shared::has_kernels() {
        is_ours(packet)?;
        // The pod's own network would have to tell the client; better the VIP's.
        if packet.transport.hop_limit <= 1 {
            return Err(Verdict::HopLimit);
        }
        if packet.transport.opens() {
            if let Some(course) = open_again(packet)? {
                return Ok(course);
            }
            if is_closed {
                return Err(Verdict::Closed);
            }
            // Where nodes disagree, and it must not be sent on, it is opened here rather than on the kernel's
            // path, if a pod of its frontend is here; and its segments come by the same way.
            if current.hop == 0 || Sender::of(packet)?.must_not_send_on() {
                return open(packet, current);
            }
            connections::challenge(packet, ConnectionState::ELSEWHERE);
        } else {
            let over = match follow(packet, slot, current)? {
                Followed::There(course) => return Ok(course),
                Followed::Over(had_it) => Some(had_it),
                Followed::Lost => None,
            };
            if is_closed && over.is_none() {
                may_be_ours(packet, current)?;
            }
            if current.hop == 0 {
                return unknown_here(packet, slot, current, previous, over);
            }
        }
    }
    elsewhere(packet, current, previous)
}

/// A SYN that has been here before keeps its course.
#[inline(always)]
fn open_again<F: Family>(packet: &Packet<F>) -> Result<Option<Course<F>>, Verdict> {
    match connections::opened_before(packet) {
        Known::Pod(pod) => Ok(Some(Course::Deliver(pod, Verdict::Delivered))),
        Known::Kernel => Err(Verdict::KernelPath),
        Known::Over(_) | Known::Torn(_) | Known::Contested(_) | Known::Node(_) | Known::No => {
            Ok(None)
        }
    }
}

/// A packet of no known connection, to a frontend that takes no new ones, may be the kernel's as well.
/// Which of them are the kernel's will be known in a moment, if the frontend has just come, and is
/// known if it is going: there it is one that the programs have, or a datagram.
#[inline(always)]
fn may_be_ours<F: Family>(packet: &Packet<F>, current: &BackendEntry) -> Result<(), Verdict> {
    let is_learning = packet.flags & FrontendEntry::LEARNING != 0;
    match packet.transport.is_mid_stream() {
        true if is_learning => Err(Verdict::DropUnsettled),
        false if is_learning || current.hop == 0 => Err(Verdict::Closed),
        _ => Ok(()),
    }
}

/// A new connection to a pod of this node: its slot's, or, where that is another node's, or where the
/// client's port reaches that one by another frontend already, the next.
#[inline(always)]
fn open<F: Family>(packet: &Packet<F>, current: &BackendEntry) -> Result<Course<F>, Verdict> {
    shared::may_open()?;
    let first = pod::<F>(current);
    let mut none = Verdict::LoopGuard;
    if current.hop == 0 {
        match connections::open(packet, first) {
            Err(Verdict::Collision) => none = Verdict::Collision,
            Err(verdict) => return Err(verdict),
            Ok(()) => return Ok(Course::Deliver(first, Verdict::Delivered)),
        }
    }
    let next = neighbour(packet, first).ok_or(none)?;
    connections::open(packet, next)?;
    Ok(Course::Deliver(next, Verdict::Delivered))
}

/// The pod of this node in the nearest following slot, other than `but`.
#[inline(always)]
fn neighbour<F: Family>(packet: &Packet<F>, but: Pod<F>) -> Option<Pod<F>> {
    let slots = FrontendEntry::slots(packet.flags);
    // Those next to each other are halves of one slot of a smaller table, and say the same.
    let stride = slots / SEARCH + 1;
    for step in 1..=SEARCH {
        let behind = maps::slot_behind(packet.slot, step * stride, slots);
        let slot = maps::slot(packet.table, behind)?;
        if let Some(backend) = maps::backend(slot.current)
            && backend.hop == 0
            && but != pod::<F>(backend)
        {
            return Some(pod::<F>(backend));
        }
    }
    None
}

/// What became of looking for a segment's connection.
enum Followed<F: Family> {
    /// It is there.
    There(Course<F>),
    /// It was at this pod, unless it is the next one's.
    Over(Pod<F>),
    /// Nobody knows, here.
    Lost,
}

/// A segment of a known connection goes where that is.
#[inline(always)]
fn follow<F: Family>(
    packet: &Packet<F>,
    slot: &Slot,
    current: &BackendEntry,
) -> Result<Followed<F>, Verdict> {
    // Not one call with either answer: the verifier refuses to carry on what only one of them fills in.
    if packet.transport.is_error() {
        follow_known(packet, slot, current, connections::find(packet))
    } else {
        follow_known(packet, slot, current, connections::look_up(packet))
    }
}

#[inline(always)]
fn follow_known<F: Family>(
    packet: &Packet<F>,
    slot: &Slot,
    current: &BackendEntry,
    known: Known<F>,
) -> Result<Followed<F>, Verdict> {
    match known {
        Known::Pod(has_it) => {
            let verdict = if current.hop == 0 && has_it == pod::<F>(current) {
                Verdict::Delivered
            } else {
                Verdict::DeliveredPrevious
            };
            Ok(Followed::There(Course::Deliver(has_it, verdict)))
        }
        Known::Torn(had_it) if is_asked_last(packet, slot, current)? => {
            let course = Course::Deliver(had_it, Verdict::DeliveredPrevious);
            Ok(Followed::There(course))
        }
        Known::Over(had_it) | Known::Torn(had_it) => {
            let sender = Sender::of(packet)?;
            let can_ask = maps::hop(current.hop).is_some() && !sender.must_not_send_on();
            if current.hop == 0 || can_ask {
                return Ok(Followed::Over(had_it));
            }
            may_be_a_last_word(slot)?;
            let last = Course::Deliver(had_it, Verdict::DeliveredPrevious);
            Ok(Followed::There(last))
        }
        Known::Contested(has_it) => {
            let sender = Sender::of(packet)?;
            if sender.mark == 0 && current.hop != 0 && maps::hop(current.hop).is_some() {
                let mark = sender.next_mark().ok_or(Verdict::LoopGuard)?;
                let asked = Course::Direct(current.hop, mark, Verdict::ExtraHop);
                return Ok(Followed::There(asked));
            }
            // The other node has sent it back, or cannot be asked.
            connections::uncontested(packet);
            let course = Course::Deliver(has_it, Verdict::DeliveredPrevious);
            Ok(Followed::There(course))
        }
        Known::Node(hop) => {
            let sender = Sender::of(packet)?;
            // The slot has gone on to a third node, which knows better, or asks here.
            if sender.mark == 0 && current.hop != 0 && maps::hop(current.hop).is_some() {
                return Ok(Followed::Lost);
            }
            let mark = sender.next_mark().ok_or(Verdict::LoopGuard)?;
            Ok(Followed::There(Course::Direct(hop, mark, Verdict::Moved)))
        }
        Known::Kernel => Err(Verdict::KernelPath),
        Known::No => Ok(Followed::Lost),
    }
}

/// Nobody has said that the client has a next connection. Who has it may be about to.
#[inline(always)]
fn may_be_a_last_word(slot: &Slot) -> Result<(), Verdict> {
    if slot.unsettled != 0 || !shared::is_fresh(shared::now()) {
        return Err(Verdict::DropUnsettled);
    }
    Ok(())
}

/// Whether nobody else can have this connection: its slot has been settled for long enough that everybody has said what is
/// its (where the cluster has a key, by which it is said), and the slot's present node does not know it, for it asks here.
#[inline(always)]
fn is_asked_last<F: Family>(
    packet: &Packet<F>,
    slot: &Slot,
    current: &BackendEntry,
) -> Result<bool, Verdict> {
    let sender = Sender::of(packet)?;
    let asks = sender.mark != 0 && (sender.mark < FIRST_MARK || sender.is_at(current));
    Ok(asks && may_be_a_last_word(slot).is_ok() && away(packet)?.is_none())
}

/// The current backend is on this node, and the connection is not known.
#[inline(always)]
fn unknown_here<F: Family>(
    packet: &Packet<F>,
    slot: &Slot,
    current: &BackendEntry,
    previous: [Option<&BackendEntry>; 2],
    over: Option<Pod<F>>,
) -> Result<Course<F>, Verdict> {
    if slot.previous[0] != 0 {
        let sender = Sender::of(packet)?;
        // Nodes remember different ones, if they heard of changes at different times: a low mark alone
        // says that both were asked.
        let mut came_back = sender.mark != 0 && sender.mark <= LAST_MARK;
        let mut next = 0;
        for backend in previous.into_iter().rev().flatten() {
            if backend.hop != 0
                && let Some(hop) = maps::hop(backend.hop)
            {
                came_back |= sender.mark != 0 && hop.mac == sender.mac;
                next = backend.hop;
            }
        }
        if next != 0 && !came_back {
            // To a node that cannot be reached yet, the pod here is to be preferred.
            let mark = sender.next_mark().ok_or(Verdict::LoopGuard)?;
            return Ok(Course::Direct(next, mark, Verdict::SecondChance));
        }
    }
    let away = away(packet)?;
    if let Some(had_it) = over {
        let sender = Sender::of(packet)?;
        if slot.unsettled != 0 && sender.is_node && sender.mark == 0 {
            return Ok(Course::Return(FIRST_MARK, Verdict::SecondChance));
        }
        if let Some((hop, mark)) = away {
            return Ok(Course::Direct(hop, mark, Verdict::SecondChance));
        }
        may_be_a_last_word(slot)?;
        return Ok(Course::Deliver(had_it, Verdict::DeliveredPrevious));
    }
    let is_settled = slot.unsettled == 0 && away.is_none();
    let taken_in = if packet.transport.is_error() {
        // About what nobody can have it goes nowhere: whoever invents one would have it cross the segment again and again.
        let may_somebody = !is_settled || !shared::is_fresh(shared::now());
        Err(if may_somebody {
            Verdict::DropUnsettled
        } else {
            Verdict::UnknownError
        })
    } else {
        connections::adopt(packet, pod::<F>(current), is_settled)
    };
    let pod = match taken_in {
        Err(Verdict::DropUnsettled) => {
            if let Some((hop, mark)) = away {
                return Ok(Course::Direct(hop, mark, Verdict::SecondChance));
            }
            // Another director may have newer tables than this node, and know whom to ask.
            let sender = Sender::of(packet)?;
            if sender.is_node && sender.mark == 0 {
                return Ok(Course::Return(FIRST_MARK, Verdict::SecondChance));
            }
            return Err(Verdict::DropUnsettled);
        }
        other => other?,
    };
    // Of a datagram nothing else was to be expected.
    let verdict = if packet.transport.is_mid_stream() {
        Verdict::Adopted
    } else {
        Verdict::Delivered
    };
    Ok(Course::Deliver(pod, verdict))
}

/// A node that may have this connection and cannot say so, and the mark with which to ask it. Only where
/// this node's own tables are those of now.
#[inline(always)]
fn away<F: Family>(packet: &Packet<F>) -> Result<Option<(u16, u8)>, Verdict> {
    if !packet.transport.is_mid_stream() || !shared::is_fresh(shared::now()) {
        return Ok(None);
    }
    let sender = Sender::of(packet)?;
    let asked = shared::away(sender.mac);
    Ok(asked.and_then(|hop| Some((hop, sender.mark_for_away()?))))
}

/// The current backend is on another node, and the connection is not known here.
#[inline(always)]
fn elsewhere<F: Family>(
    packet: &Packet<F>,
    current: &BackendEntry,
    previous: [Option<&BackendEntry>; 2],
) -> Result<Course<F>, Verdict> {
    let is_leaving = current.flags & BackendEntry::LEAVING != 0;
    if current.hop == BackendEntry::UNPLACED || (is_leaving && packet.transport.opens()) {
        return Err(Verdict::Unplaced);
    }
    let sender = Sender::of(packet)?;
    if sender.mark != 0 {
        return sent_on(packet, current, previous, sender);
    }
    if sender.is_node {
        return Ok(Course::Direct(current.hop, FIRST_MARK, Verdict::ExtraHop));
    }
    // Of datagrams no director knows whether they are new.
    if packet.transport.opens() || packet.transport.protocol == UDP {
        shared::are_kept()?;
    }
    // What arrives at the next node must not look marked.
    let limit = packet.transport.hop_limit;
    if limit <= FIRST_MARK + 1 {
        return Err(Verdict::HopLimit);
    }
    Ok(Course::Direct(current.hop, limit - 1, Verdict::Directed))
}

/// Another node asked for a connection that is not here.
#[inline(always)]
fn sent_on<F: Family>(
    packet: &Packet<F>,
    current: &BackendEntry,
    previous: [Option<&BackendEntry>; 2],
    sender: Sender,
) -> Result<Course<F>, Verdict> {
    // Nodes disagree, and nobody knows it here: whatever bears a mark has been looked up.
    let mark = sender.next_mark().ok_or(Verdict::LoopGuard)?;
    // The last previous one, if the sender was told to ask this node as the first; either, if the
    // current's node does not know it and asks who sent it there.
    if !packet.transport.opens() && mark > LAST_MARK {
        let asked_first = previous[0].is_some_and(|backend| backend.hop == 0);
        if !asked_first && sender.is_at(current) {
            if let Some(hop) = other_than(sender, previous[0]) {
                return Ok(Course::Direct(hop, mark, Verdict::SecondChance));
            }
        }
        if (asked_first || sender.is_at(current))
            && let Some(hop) = other_than(sender, previous[1])
        {
            return Ok(Course::Direct(hop, mark, Verdict::SecondChance));
        }
    }
    Ok(Course::Direct(current.hop, mark, Verdict::ExtraHop))
}

/// The hop of a backend on a third node.
#[inline(always)]
fn other_than(sender: Sender, backend: Option<&BackendEntry>) -> Option<u16> {
    let id = backend?.hop;
    let is_other = id != 0 && maps::hop(id)?.mac != sender.mac;
    is_other.then_some(id)
}

/// Refuses frames that were not sent to this node: a port of a bridge or a promiscuous interface
/// sees those too.
#[inline(always)]
fn is_ours<F: Family>(packet: &Packet<F>) -> Result<(), Verdict> {
    let destination = packet.frame.bytes::<6>(0).ok_or(Verdict::Malformed)?;
    match maps::ours(packet.frame.ifindex, *destination) {
        Some(_) => Ok(()),
        None => Err(Verdict::NotOurMac),
    }
}

#[inline(always)]
fn pod<F: Family>(backend: &BackendEntry) -> Pod<F> {
    Pod {
        address: F::pod(backend),
        port: u16::from_ne_bytes(backend.port),
    }
}
