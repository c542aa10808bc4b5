//! Any bytes as netlink messages: whatever is understood is taken in, and the tables stay what they are meant to be.
//!
//! The first byte says what the message is about, so that not every guess has to begin with a netlink header.
#![no_main]

use landfall_wire::link::LinkTable;
use landfall_wire::link::parse::{Cache, of_links, of_neighbours};
use libfuzzer_sys::fuzz_target;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

/// New and deleted links, addresses, neighbours.
const KINDS: [u16; 6] = [16, 17, 20, 21, 28, 29];

fn understood(kind: u16, body: &[u8]) -> Option<RouteNetlinkMessage> {
    let length = u32::try_from(16 + body.len()).ok()?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
        .ok()?
        .payload
    {
        NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let first = usize::from(*first);
    // Two messages, the second on what the first has left.
    let (one, other) = rest.split_at(first / KINDS.len() * 4 % (rest.len() + 1));
    let kinds = [KINDS[first % KINDS.len()], KINDS[(first + 1) % KINDS.len()]];
    let messages: Vec<_> = kinds
        .into_iter()
        .zip([one, other])
        .filter_map(|(kind, body)| understood(kind, body))
        .collect();
    let mut table = LinkTable::default();
    for message in &messages {
        of_links(&mut table, message.clone());
        for (index, link) in &table.links {
            assert_eq!(*index, link.index);
            assert!(link.addresses.is_sorted(), "not sorted, or twice");
        }
    }
    let mut neighbours = Cache::new();
    for message in messages {
        of_neighbours(&mut neighbours, message);
    }
    let resolved = neighbours.values().filter(|entry| entry.mac.is_some());
    assert!(resolved.count() <= neighbours.len());
});
