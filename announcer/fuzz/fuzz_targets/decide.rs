//! Any bytes as a received frame: what is answered goes to who asked, and both of the kernel's filters would have let it
//! through.
#![no_main]

use std::collections::BTreeSet;
use std::net::IpAddr;

use landfall_announcer_fuzz::mend_checksum;
use landfall_bpf_lb_common::neighbour::{Address, concern};
use landfall_wire::Mac;
use landfall_wire::ethernet::{self, Frame};
use landfall_wire::link::{bpf_vm, filter};
use landfall_wire::{Decision, Interest, Reason, buffer, decide};
use libfuzzer_sys::fuzz_target;

const ME: Mac = Mac([2, 0, 0, 0, 0, 11]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 12]);

/// An address is owned, probed or neither, as its last byte says.
fn interest(address: IpAddr) -> Interest {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    match last {
        100..=119 => Interest::Owned,
        120..=129 => Interest::Probing,
        _ => Interest::None,
    }
}

fn in_words(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}

fn check(frame: &[u8]) {
    let mut out = buffer();
    let friend = |mac| (mac == PEER).then_some(Reason::Peer);
    let decision = decide(frame, ME, interest, friend, &mut out);
    let address = match decision {
        Decision::Ignored(_) => return,
        Decision::Claim { address, mac, .. } => {
            assert!(mac != ME && mac != PEER);
            address
        }
        Decision::Answer(answer) => {
            assert_eq!(interest(answer.address), Interest::Owned);
            assert!(answer.asker.is_station());
            let reply = Frame::parse(&out[..answer.length]).expect("a frame of ours");
            assert_eq!(reply.source, ME);
            let mut again = buffer();
            let heard = decide(&out[..answer.length], ME, interest, |_| None, &mut again);
            assert!(
                matches!(heard, Decision::Ignored(_)),
                "we would answer ourselves"
            );
            answer.address
        }
    };
    assert!(interest(address) != Interest::None);
    assert!(
        concern(frame, |known| known == in_words(address)).is_some(),
        "the filter would drop it"
    );
    assert!(
        classic_keeps(address, frame, kind(frame)),
        "the classic filter would drop it"
    );
}

/// Whether the classic filter of the socket that a frame of this kind comes to would keep it, for one address.
fn classic_keeps(address: IpAddr, frame: &[u8], kind: u32) -> bool {
    let program = match address {
        IpAddr::V4(address) => filter::arp_about(&BTreeSet::from([address])),
        IpAddr::V6(_) => filter::ndp(),
    };
    bpf_vm::keeps(&program, frame, kind, false)
}

/// What the kernel calls a frame that is for this host: to it, to everybody, to a group.
fn kind(frame: &[u8]) -> u32 {
    match frame {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => 1,
        [first, ..] if first & 1 != 0 => 2,
        _ => 0,
    }
}

fuzz_target!(|frame: &[u8]| {
    check(frame);
    let mut mended = frame.to_vec();
    if mended.get(12..14) == Some(&ethernet::IPV6.to_be_bytes()) {
        mend_checksum(&mut mended[ethernet::HEADER..]);
        check(&mended);
    }
});
