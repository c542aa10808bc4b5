//! Questions to the segment: whether a silent node answers for an address, whether a router answers at all.
//!
//! Pure but for the one look into the kernel's table of routes. A node is asked by unicast, for fabrics answer broadcasts
//! on behalf of the dead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use landfall_election::{NodeName, Now};
use landfall_wire::arp::{Arp, Operation};
use landfall_wire::ethernet::{self, Frame};
use landfall_wire::ndp::{self, Message, Ndp};
use landfall_wire::{Buffer, Mac};

use crate::link::IfIndex;

/// How long an answer counts: longer than any machine waits for one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom a question is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This node, by this Ethernet address of its.
    Node(NodeName, Mac),
    /// A router of the segment, whatever its Ethernet address.
    Witness,
}

#[derive(Clone, Debug)]
struct Question {
    segment: IfIndex,
    address: IpAddr,
    asked: Asked,
    until: Now,
}

/// The questions under way.
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<Question>);

impl Questions {
    pub(super) fn note(&mut self, segment: IfIndex, address: IpAddr, asked: Asked, now: Now) {
        self.0.retain(|question| question.until > now);
        self.0.push(Question {
            segment,
            address,
            asked,
            until: now + PATIENCE,
        });
    }

    /// Who answers a question of ours by this frame.
    pub(super) fn answered(&self, segment: IfIndex, bytes: &[u8], now: Now) -> Option<Asked> {
        let frame = Frame::parse(bytes).ok()?;
        let (address, mac) = claim(&frame)?;
        let fits = |question: &&Question| {
            let is_theirs = match &question.asked {
                Asked::Node(_, asked) => *asked == mac && *asked == frame.source,
                Asked::Witness => true,
            };
            question.segment == segment
                && question.address == address
                && question.until > now
                && is_theirs
        };
        self.0
            .iter()
            .find(fits)
            .map(|question| question.asked.clone())
    }
}

/// The address an answer is about, and where it is said to be.
fn claim(frame: &Frame<'_>) -> Option<(IpAddr, Mac)> {
    match frame.ether_type {
        ethernet::ARP => {
            let arp = Arp::parse(frame.payload).ok()?;
            (arp.operation == Operation::Reply).then_some((arp.sender.into(), arp.sender_mac))
        }
        ethernet::IPV6 => {
            let ndp = Ndp::parse(frame.payload).ok()?;
            match ndp.message {
                Message::Advertisement { mac, .. } => {
                    Some((ndp.target.into(), mac.unwrap_or(frame.source)))
                }
                Message::Solicitation { .. } => None,
            }
        }
        _ => None,
    }
}

/// Writes the question who has `address`, to `destination`, from one who has no address itself; its length.
pub(super) fn write(address: IpAddr, me: Mac, destination: Mac, out: &mut Buffer) -> usize {
    match address {
        IpAddr::V4(target) => {
            let probe = Arp {
                operation: Operation::Request,
                sender_mac: me,
                sender: Ipv4Addr::UNSPECIFIED,
                target_mac: Mac::ZERO,
                target,
            };
            probe.emit(destination, out)
        }
        IpAddr::V6(target) => {
            let probe = Ndp {
                source: Ipv6Addr::UNSPECIFIED,
                destination: ndp::solicited_node(target),
                target,
                message: Message::Solicitation { mac: None },
            };
            probe.emit(me, destination, out)
        }
    }
}

/// The IPv4 router of the interface of that name, as `/proc/net/route` has it.
pub(super) fn router(routes: &str, interface: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (name, destination, gateway) = (fields.next()?, fields.next()?, fields.next()?);
        if name != interface || destination != "00000000" {
            return None;
        }
        // As the kernel keeps it, in the order of the network.
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use landfall_wire::buffer;
    use landfall_wire::{Decision, Interest, decide};

    use super::*;
    use crate::testing::{ip, mac, secs};

    /// What a node that owns the address answers to a question of ours.
    fn answer(address: IpAddr, owner: Mac) -> Vec<u8> {
        let (mut question, mut out) = (buffer(), buffer());
        let length = write(address, mac(1), owner, &mut question);
        match decide(
            &question[..length],
            owner,
            |_| Interest::Owned,
            |_| None,
            &mut out,
        ) {
            Decision::Answer(answer) => out[..answer.length].to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_owner_s_answer_is_known_by_its_address_and_its_ethernet_address() {
        for address in [ip("192.0.2.10"), ip("2001:db8::10")] {
            let mut questions = Questions::default();
            let asked = Asked::Node(NodeName::new("n2"), mac(2));
            questions.note(3, address, asked.clone(), secs(10));
            let answered = answer(address, mac(2));
            assert_eq!(questions.answered(3, &answered, secs(10)), Some(asked));
            assert_eq!(
                questions.answered(4, &answered, secs(10)),
                None,
                "another segment"
            );
            assert_eq!(questions.answered(3, &answered, secs(12)), None, "too late");
            assert_eq!(
                questions.answered(3, &answer(address, mac(9)), secs(10)),
                None,
                "another node"
            );
        }
    }

    #[test]
    fn whoever_has_the_router_s_address_is_a_witness() {
        let mut questions = Questions::default();
        questions.note(3, ip("192.0.2.1"), Asked::Witness, secs(10));
        let answered = answer(ip("192.0.2.1"), mac(9));
        assert_eq!(
            questions.answered(3, &answered, secs(10)),
            Some(Asked::Witness)
        );
    }

    #[test]
    fn the_router_is_the_gateway_of_the_interface_s_default_route() {
        let routes = "Iface\tDestination\tGateway \tFlags\n\
                      eth0\t000200C0\t00000000\t0001\neth0\t00000000\t010200C0\t0003\n";
        assert_eq!(router(routes, "eth0"), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(router(routes, "eth1"), None);
    }
}
