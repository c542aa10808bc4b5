//! Any bytes as messages about moved connections: what is read can be said again and means the same; nobody is believed
//! about connections that are not its own; nothing grows without a bound.
#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use landfall_bpf_lb_fuzz::duties::message::{BATCH, Body, Message};
use landfall_bpf_lb_fuzz::duties::{Flow, Kept, MOST_KEPT, Owed};
use libfuzzer_sys::fuzz_target;

const NODES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
];

fn is_its_own(flow: &Flow) -> bool {
    flow.frontend.port & 1 == 0
}

/// Messages lie one after the other, each behind its sender and its length.
fn letters(mut bytes: &[u8]) -> impl Iterator<Item = (IpAddr, &[u8])> {
    std::iter::from_fn(move || {
        let ([from, high, low], rest) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (letter, rest) = rest.split_at(length);
        bytes = rest;
        Some((NODES[usize::from(from & 1)], letter))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (mut kept, mut owed) = (Kept::default(), Owed::new(1));
    let mut now = Duration::from_secs(1);
    for (from, letter) in letters(bytes).chain([(NODES[0], bytes)]) {
        let Ok(message) = Message::decode(letter) else {
            continue;
        };
        assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
        if let Body::Keep { flows, .. } | Body::Forget { flows, .. } = &message.body {
            assert!(flows.len() <= BATCH);
        }
        owed.answered(from, &message);
        if let Some(answer) = kept.receive(from, &message, now, is_its_own) {
            assert_eq!(answer.boot, message.boot);
            assert!(matches!(
                answer.body,
                Body::Acknowledge { .. } | Body::TellAgain
            ));
        }
        let entries = kept.entries();
        assert!(entries.len() <= NODES.len() * MOST_KEPT);
        assert!(entries.keys().all(is_its_own));
        now += Duration::from_secs(1);
    }
    assert!(owed.due(now).is_empty(), "nothing was owed to anybody");
    kept.expire(now + Duration::from_secs(60));
    assert!(kept.entries().is_empty());
});
