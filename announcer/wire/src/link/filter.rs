//! The kernel filters of the packet sockets, as programs of its classic packet filter: for the time before a socket has
//! an eBPF filter, and where there is none.
//!
//! Pure: programs out, no socket. What a filter lets through is still checked byte by byte; it only keeps frames that
//! cannot concern this node from waking it. For ARP it can know the addresses: two binary searches, one for the sender
//! and one for the target, in a program the kernel compiles.
//!
//! Invariant: no filter drops a frame that [`crate::decide`] would answer or report, for the addresses given.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// One instruction: comparisons jump `yes` or `no` instructions ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What it does, in libc's constants.
    pub code: u32,
    /// Instructions to skip where a comparison holds.
    pub yes: u8,
    /// And where it does not.
    pub no: u8,
    /// What it loads, compares with or returns.
    pub value: u32,
}

/// What the kernel takes.
const LONGEST: usize = 4_096;
/// Addresses compared one after the other at the end of a search.
const LEAF: u8 = 16;

pub(super) const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
pub(super) const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
pub(super) const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub(super) const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
pub(super) const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
pub(super) const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
/// What kind of frame it is, relative to this host: one of the kernel's negative offsets.
pub(super) const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
/// Whether it had a VLAN tag, which the kernel has taken off.
pub(super) const VLAN_PRESENT: u32 =
    (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT).cast_unsigned();
const TO_THIS_HOST: u32 = libc::PACKET_HOST as u32;
const TO_OTHERS: u32 = libc::PACKET_OTHERHOST as u32;
const OUTGOING: u32 = libc::PACKET_OUTGOING as u32;
const WHOLE: u32 = 0xffff;
/// Where an ARP packet has its sender's and its target's address.
const SENDER: u32 = 28;
const TARGET: u32 = 38;

const fn op(code: u32, value: u32, yes: u8, no: u8) -> Op {
    Op {
        code,
        yes,
        no,
        value,
    }
}

/// Frames of one EtherType to this host or a group, not tagged, not sent by this host; all others end here.
const fn prologue(ether_type: u32) -> [Op; 8] {
    [
        op(LOAD_BYTE, PACKET_TYPE, 0, 0),
        op(EQUALS, TO_OTHERS, 5, 0),
        op(EQUALS, OUTGOING, 4, 0),
        op(LOAD_BYTE, VLAN_PRESENT, 0, 0),
        op(EQUALS, 0, 0, 2),
        op(LOAD_HALF, 12, 0, 0),
        op(EQUALS, ether_type, 1, 0),
        op(RETURN, 0, 0, 0),
    ]
}

/// Every ARP packet.
#[must_use]
pub fn arp() -> Vec<Op> {
    let mut program = prologue(0x0806).to_vec();
    program.push(op(RETURN, WHOLE, 0, 0));
    program
}

/// ARP packets from or about one of these addresses. Every one, if they are too many for a program.
#[must_use]
pub fn arp_about(addresses: &BTreeSet<Ipv4Addr>) -> Vec<Op> {
    let sorted: Vec<u32> = addresses
        .iter()
        .map(|address| u32::from(*address))
        .collect();
    let mut program = prologue(0x0806).to_vec();
    for field in [SENDER, TARGET] {
        program.push(op(LOAD_WORD, field, 0, 0));
        let mut misses = Vec::new();
        search(&sorted, &mut program, &mut misses);
        let end = program.len();
        for miss in misses {
            land(&mut program, miss, end);
        }
    }
    program.push(op(RETURN, 0, 0, 0));
    if program.len() > LONGEST {
        arp()
    } else {
        program
    }
}

/// A binary search for the loaded word: accepts where it is found, else jumps on from one of `misses`.
fn search(sorted: &[u32], program: &mut Vec<Op>, misses: &mut Vec<usize>) {
    if sorted.len() <= usize::from(LEAF) {
        // Behind the comparisons come the jump on and the instruction that accepts.
        let ahead = (1..=LEAF).rev().skip(usize::from(LEAF) - sorted.len());
        program.extend(
            sorted
                .iter()
                .zip(ahead)
                .map(|(address, ahead)| op(EQUALS, *address, ahead, 0)),
        );
        misses.push(program.len());
        program.push(op(JUMP, 0, 0, 0));
        program.push(op(RETURN, WHOLE, 0, 0));
        return;
    }
    let (low, high) = sorted.split_at(sorted.len() / 2);
    program.push(op(AT_LEAST, high[0], 0, 1));
    let right = program.len();
    program.push(op(JUMP, 0, 0, 0));
    search(low, program, misses);
    let here = program.len();
    land(program, right, here);
    search(high, program, misses);
}

/// Lets the jump at `from` go to `to`, which comes after it.
fn land(program: &mut [Op], from: usize, to: usize) {
    program[from].value = u32::try_from(to - from - 1).unwrap_or(u32::MAX);
}

/// Frames of other announcers; which of them are authentic is not for the kernel to say.
#[must_use]
pub fn peers() -> Vec<Op> {
    let mut program = prologue(u32::from(crate::ethernet::PEERS)).to_vec();
    program.push(op(RETURN, WHOLE, 0, 0));
    program
}

/// ARP replies to this host alone: answers to questions of its own.
#[must_use]
pub fn arp_replies() -> Vec<Op> {
    let mut program = prologue(0x0806).to_vec();
    program.extend([
        op(LOAD_BYTE, PACKET_TYPE, 0, 0),
        op(EQUALS, TO_THIS_HOST, 0, 3),
        op(LOAD_HALF, 20, 0, 0),
        op(EQUALS, 2, 0, 1),
        op(RETURN, WHOLE, 0, 0),
        op(RETURN, 0, 0, 0),
    ]);
    program
}

/// Neighbour advertisements without extension headers, to this host or to all nodes.
#[must_use]
pub fn advertisements() -> Vec<Op> {
    let mut program = prologue(0x86dd).to_vec();
    program.extend([
        op(LOAD_BYTE, 20, 0, 0),
        op(EQUALS, 58, 0, 3),
        op(LOAD_BYTE, 54, 0, 0),
        op(EQUALS, 136, 0, 1),
        op(RETURN, WHOLE, 0, 0),
        op(RETURN, 0, 0, 0),
    ]);
    program
}

/// Neighbour solicitations and advertisements; behind extension headers only with a neighbour message's hop limit, so
/// that listener reports stay out.
#[must_use]
pub fn ndp() -> Vec<Op> {
    let mut program = prologue(0x86dd).to_vec();
    program.extend([
        op(LOAD_BYTE, 20, 0, 0),
        op(EQUALS, 58, 3, 0),
        op(EQUALS, 0, 5, 0),
        op(EQUALS, 43, 4, 0),
        op(EQUALS, 60, 3, 6),
        op(LOAD_BYTE, 54, 0, 0),
        op(EQUALS, 135, 3, 0),
        op(EQUALS, 136, 2, 3),
        op(LOAD_BYTE, 21, 0, 0),
        op(EQUALS, 255, 0, 1),
        op(RETURN, WHOLE, 0, 0),
        op(RETURN, 0, 0, 0),
    ]);
    program
}

/// For who only looks: ARP, neighbour messages without extension headers, and announcers' frames, to whomever and also of
/// this host's own; none with a tag, which are another interface's.
#[must_use]
pub fn neighbours_and_peers() -> Vec<Op> {
    vec![
        op(LOAD_BYTE, VLAN_PRESENT, 0, 0),
        op(EQUALS, 0, 0, 9),
        op(LOAD_HALF, 12, 0, 0),
        op(EQUALS, 0x0806, 8, 0),
        op(EQUALS, u32::from(crate::ethernet::PEERS), 7, 0),
        op(EQUALS, 0x86dd, 0, 5),
        op(LOAD_BYTE, 20, 0, 0),
        op(EQUALS, 58, 0, 3),
        op(LOAD_BYTE, 54, 0, 0),
        op(AT_LEAST, 135, 0, 1),
        op(AT_LEAST, 137, 0, 1),
        op(RETURN, 0, 0, 0),
        op(RETURN, WHOLE, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bpf_vm::keeps;
    use super::*;

    fn arp_frame(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[12..14].copy_from_slice(&[8, 6]);
        frame[28..32].copy_from_slice(&sender.octets());
        frame[38..42].copy_from_slice(&target.octets());
        frame
    }

    fn ndp_frame(next: u8, hop_limit: u8, kind: u8) -> Vec<u8> {
        let mut frame = vec![0; 86];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame[20], frame[21], frame[54]) = (next, hop_limit, kind);
        frame
    }

    fn addresses() -> impl Strategy<Value = BTreeSet<Ipv4Addr>> {
        let any = any::<u32>().prop_map(Ipv4Addr::from);
        let near = (0..300_u32).prop_map(|number| Ipv4Addr::from(0xc000_0200 + number));
        let edge = prop_oneof![Just(Ipv4Addr::UNSPECIFIED), Just(Ipv4Addr::BROADCAST)];
        proptest::collection::btree_set(prop_oneof![2 => any, 6 => near, 1 => edge], 0..250)
    }

    #[test]
    fn of_arp_only_replies_to_this_host_answer_its_questions() {
        let packet = |operation: u8| {
            let mut frame = arp_frame(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
            frame[21] = operation;
            frame
        };
        assert!(keeps(&arp_replies(), &packet(2), TO_THIS_HOST, false));
        assert!(!keeps(&arp_replies(), &packet(1), TO_THIS_HOST, false));
        assert!(!keeps(&arp_replies(), &packet(2), 1, false), "broadcast");
    }

    #[test]
    fn of_neighbour_messages_only_advertisements_answer_questions() {
        for (kind, kept) in [(136, true), (135, false), (134, false)] {
            let frame = ndp_frame(58, 255, kind);
            assert_eq!(keeps(&advertisements(), &frame, 2, false), kept, "{kind}");
        }
        assert!(!keeps(
            &advertisements(),
            &ndp_frame(17, 255, 136),
            2,
            false
        ));
    }

    #[test]
    fn who_only_looks_sees_what_is_heard_and_said_and_nothing_else() {
        let mut beat = vec![0; 60];
        beat[12..14].copy_from_slice(&crate::ethernet::PEERS.to_be_bytes());
        let arp_packet = arp_frame(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let seen = [
            beat,
            arp_packet,
            ndp_frame(58, 255, 135),
            ndp_frame(58, 255, 136),
        ];
        let program = neighbours_and_peers();
        for frame in &seen {
            for kind in [TO_THIS_HOST, TO_OTHERS, OUTGOING] {
                assert!(keeps(&program, frame, kind, false));
            }
            assert!(!keeps(&program, frame, TO_THIS_HOST, true));
        }
        let mut ipv4 = seen[1].clone();
        ipv4[12..14].copy_from_slice(&[8, 0]);
        let others = [
            ipv4,
            ndp_frame(58, 255, 134),
            ndp_frame(58, 255, 137),
            ndp_frame(17, 255, 135),
        ];
        for frame in &others {
            assert!(!keeps(&program, frame, TO_THIS_HOST, false));
        }
    }

    proptest! {
        #[test]
        fn an_arp_packet_is_kept_exactly_when_its_sender_or_target_is_known(known in addresses(), other in any::<u32>(), pick in any::<usize>()) {
            let program = arp_about(&known);
            prop_assert!(program.len() <= LONGEST);
            let other = Ipv4Addr::from(other);
            let near = Ipv4Addr::from(0xc000_0200 + u32::try_from(pick % 300).unwrap());
            for (sender, target) in [(other, near), (near, other), (near, near), (other, other)] {
                let expected = known.contains(&sender) || known.contains(&target);
                prop_assert_eq!(keeps(&program, &arp_frame(sender, target), 0, false), expected);
            }
            for address in &known {
                prop_assert!(keeps(&program, &arp_frame(other, *address), 1, false));
                prop_assert!(keeps(&program, &arp_frame(*address, other), 2, false));
            }
        }
    }

    #[test]
    fn as_many_addresses_as_fit_are_searched_and_more_let_everything_through() {
        let about = |count: u32| {
            arp_about(
                &(0..count)
                    .map(|number| Ipv4Addr::from(number * 3))
                    .collect(),
            )
        };
        let stranger = arp_frame(Ipv4Addr::from(1), Ipv4Addr::from(2));
        // docs/reference/announcing.md says how many there may be.
        assert!(!keeps(&about(1_500), &stranger, 0, false));
        assert_eq!(about(2_000), arp());
        assert!(keeps(&about(2_000), &stranger, 0, false));
    }

    #[test]
    fn frames_to_others_from_here_tagged_or_of_other_types_are_dropped() {
        let known = BTreeSet::from([Ipv4Addr::LOCALHOST]);
        let arp_packet = arp_frame(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let solicitation = ndp_frame(58, 255, 135);
        let mut beat = vec![0; 60];
        beat[12..14].copy_from_slice(&crate::ethernet::PEERS.to_be_bytes());
        for (program, frame, foreign) in [
            (arp(), &arp_packet, &solicitation),
            (arp_about(&known), &arp_packet, &solicitation),
            (ndp(), &solicitation, &arp_packet),
            (peers(), &beat, &arp_packet),
            (arp(), &arp_packet, &beat),
            (ndp(), &solicitation, &beat),
        ] {
            for kind in 0..3 {
                assert!(
                    keeps(&program, frame, kind, false),
                    "to this host, broadcast, multicast"
                );
                assert!(!keeps(&program, frame, kind, true));
                assert!(!keeps(&program, foreign, kind, false));
            }
            for kind in [TO_OTHERS, OUTGOING] {
                assert!(!keeps(&program, frame, kind, false));
            }
        }
    }

    #[test]
    fn neighbour_messages_are_kept_whatever_their_hop_limit_and_behind_extension_headers_only_with_theirs()
     {
        for (next, hop_limit, kind, kept) in [
            (58, 255, 135, true),
            (58, 255, 136, true),
            (58, 64, 135, true),
            (58, 255, 134, false),
            (58, 255, 128, false),
            (0, 255, 0, true),
            (43, 255, 0, true),
            (60, 255, 0, true),
            (0, 1, 0, false),
            (44, 255, 0, false),
            (6, 255, 135, false),
        ] {
            assert_eq!(
                keeps(&ndp(), &ndp_frame(next, hop_limit, kind), 2, false),
                kept,
                "{next} {hop_limit} {kind}"
            );
        }
    }
}
