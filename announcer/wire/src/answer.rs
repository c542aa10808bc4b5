//! The decision: what one received frame means, and the answer to it.
//!
//! Pure: it is told what this node is interested in and which Ethernet addresses are friends ([`Reason::OwnFrame`] for this
//! node's other interfaces, [`Reason::Peer`] for the peer announcers), and writes the answer into the caller's buffer. One look-up of the address asked
//! for and one of the asker's, none for a frame that is malformed.

use std::net::{IpAddr, Ipv6Addr};

use super::arp::{Arp, Operation};
use super::ethernet::{self, Frame};
use super::ndp::{self, Message, Ndp};
use super::{Buffer, Reason};
use crate::Mac;

/// What this node has to do with an address, on the interface the frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing.
    None,
    /// It answers for it.
    Owned,
    /// It asks whether anybody else has it.
    Probing,
}

/// An answer that has been written into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Length of the frame.
    pub length: usize,
    /// The address it is about.
    pub address: IpAddr,
    /// Who wants to know.
    pub asker: Mac,
    /// The Ethernet address the question came from, mostly the same.
    pub source: Mac,
}

/// What to do about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send what is in the buffer.
    Answer(Answer),
    /// A host that is no friend claims an address of interest.
    Claim {
        /// The address claimed.
        address: IpAddr,
        /// By whom.
        mac: Mac,
        /// What it is to us.
        interest: Interest,
    },
    /// Nothing, and why.
    Ignored(Reason),
}

/// Decides about the bytes of one frame received on an interface with the Ethernet address `me`.
pub fn decide(
    bytes: &[u8],
    me: Mac,
    interest: impl Fn(IpAddr) -> Interest,
    friend: impl Fn(Mac) -> Option<Reason>,
    out: &mut Buffer,
) -> Decision {
    match examine(bytes, me, interest, friend, out) {
        Ok(decision) => decision,
        Err(reason) => Decision::Ignored(reason),
    }
}

fn examine(
    bytes: &[u8],
    me: Mac,
    interest: impl Fn(IpAddr) -> Interest,
    friend: impl Fn(Mac) -> Option<Reason>,
    out: &mut Buffer,
) -> Result<Decision, Reason> {
    let frame = Frame::parse(bytes)?;
    if !matches!(frame.ether_type, ethernet::ARP | ethernet::IPV6) {
        return Err(Reason::EtherType);
    }
    if frame.vlans[0].is_some() {
        return Err(Reason::VlanTagged);
    }
    if frame.source == me {
        return Err(Reason::OwnFrame);
    }
    if !frame.reaches(me) {
        return Err(Reason::NotForUs);
    }
    let claim = |address: IpAddr, mac: Mac, interest: Interest| {
        let own = (mac == me).then_some(Reason::OwnFrame);
        match own.or_else(|| friend(mac)) {
            Some(reason) => Err(reason),
            None => Ok(Decision::Claim {
                address,
                mac,
                interest,
            }),
        }
    };
    if frame.ether_type == ethernet::ARP {
        decide_arp(
            &frame,
            &Arp::parse(frame.payload)?,
            me,
            interest,
            claim,
            out,
        )
    } else {
        decide_ndp(
            &frame,
            &Ndp::parse(frame.payload)?,
            me,
            interest,
            claim,
            out,
        )
    }
}

fn decide_arp(
    frame: &Frame<'_>,
    arp: &Arp,
    me: Mac,
    interest: impl Fn(IpAddr) -> Interest,
    claim: impl Fn(IpAddr, Mac, Interest) -> Result<Decision, Reason>,
    out: &mut Buffer,
) -> Result<Decision, Reason> {
    if !arp.sender_mac.is_station() || arp.sender.is_multicast() || arp.sender.is_broadcast() {
        return Err(Reason::BadSender);
    }
    let sender = IpAddr::V4(arp.sender);
    if !arp.sender.is_unspecified() {
        match interest(sender) {
            Interest::None => {}
            interest => return claim(sender, arp.sender_mac, interest),
        }
    }
    if arp.operation == Operation::Reply {
        return Err(Reason::NotAsked);
    }
    let target = IpAddr::V4(arp.target);
    match interest(target) {
        Interest::Owned => {}
        // Somebody else is about to claim it as well (RFC 5227 §2.1.1).
        Interest::Probing if arp.sender.is_unspecified() => {
            return claim(target, arp.sender_mac, Interest::Probing);
        }
        Interest::Probing | Interest::None => return Err(Reason::NotOwned),
    }
    let reply = Arp {
        operation: Operation::Reply,
        sender_mac: me,
        sender: arp.target,
        target_mac: arp.sender_mac,
        target: arp.sender,
    };
    let length = reply.emit(arp.sender_mac, out);
    Ok(Decision::Answer(Answer {
        length,
        address: target,
        asker: arp.sender_mac,
        source: frame.source,
    }))
}

fn decide_ndp(
    frame: &Frame<'_>,
    ndp: &Ndp,
    me: Mac,
    interest: impl Fn(IpAddr) -> Interest,
    claim: impl Fn(IpAddr, Mac, Interest) -> Result<Decision, Reason>,
    out: &mut Buffer,
) -> Result<Decision, Reason> {
    if !frame.source.is_station() {
        return Err(Reason::BadSender);
    }
    let target = IpAddr::V6(ndp.target);
    let asker = match ndp.message {
        Message::Advertisement { mac, .. } => {
            return match interest(target) {
                Interest::None => Err(Reason::NotAsked),
                interest => claim(target, mac.unwrap_or(frame.source), interest),
            };
        }
        Message::Solicitation { mac } => mac.unwrap_or(frame.source),
    };
    if !asker.is_station() {
        return Err(Reason::BadSender);
    }
    let probe = ndp.source.is_unspecified();
    if !probe {
        let source = IpAddr::V6(ndp.source);
        match interest(source) {
            Interest::None => {}
            interest => return claim(source, asker, interest),
        }
    }
    match interest(target) {
        Interest::Owned => {}
        // Another duplicate address probe at the same time (RFC 4862 §5.4.3).
        Interest::Probing if probe => return claim(target, asker, Interest::Probing),
        Interest::Probing | Interest::None => return Err(Reason::NotOwned),
    }
    let length = if probe {
        // The prober has no address yet, so everybody is told (RFC 4861 §7.2.4).
        advert(ndp.target, ndp::ALL_NODES, false, me).emit(me, ndp::group_mac(ndp::ALL_NODES), out)
    } else {
        advert(ndp.target, ndp.source, true, me).emit(me, asker, out)
    };
    Ok(Decision::Answer(Answer {
        length,
        address: target,
        asker,
        source: frame.source,
    }))
}

/// An advertisement of `address` at `mac`. Override is set: the address may have been at another node before.
pub(super) fn advert(address: Ipv6Addr, destination: Ipv6Addr, solicited: bool, mac: Mac) -> Ndp {
    Ndp {
        source: address,
        destination,
        target: address,
        message: Message::Advertisement {
            router: false,
            solicited,
            overrides: true,
            mac: Some(mac),
        },
    }
}
