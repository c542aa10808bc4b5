//! What the fuzz targets of this project share.

/// What a session publishes is read with the announcer's other objects, which come with a client. Its source is taken in
/// as it is, so that a target builds in seconds and what it finds is in the code that runs.
#[allow(dead_code)]
#[path = "../../src/model/published.rs"]
pub mod published;

/// Makes the ICMPv6 checksum of an IPv6 packet right, where the message follows the header at once: no amount of
/// guessing would.
pub fn mend_checksum(packet: &mut [u8]) {
    use pnet_packet::icmpv6::{Icmpv6Packet, checksum};
    use pnet_packet::ipv6::Ipv6Packet;
    let Some(header) = Ipv6Packet::new(packet) else {
        return;
    };
    let (source, destination) = (header.get_source(), header.get_destination());
    let end = 40 + usize::from(header.get_payload_length());
    if header.get_next_header().0 != 58 || end < 44 || end > packet.len() {
        return;
    }
    packet[42..44].fill(0);
    let sum = Icmpv6Packet::new(&packet[40..end])
        .map(|message| checksum(&message, &source, &destination));
    if let Some(sum) = sum {
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A frame between announcers whose kind, counter, names and body are these bytes, put together by hand as its documentation
/// says; `None` if they are too many.
pub fn signed(
    bytes: &[u8],
    to: [u8; 6],
    from: [u8; 6],
    cluster: [u8; 8],
    key: &[u8],
) -> Option<Vec<u8>> {
    let (kind, rest) = bytes.split_first()?;
    let length = u16::try_from(16 + rest.len() + 32).ok()?;
    let id = ring::digest::digest(&ring::digest::SHA256, key);
    let mut message = vec![1, *kind];
    message.extend(length.to_be_bytes());
    message.extend(cluster);
    message.extend(&id.as_ref()[..4]);
    message.extend(rest);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    let code = ring::hmac::sign(&key, &[&to[..], &message].concat());
    Some([&to[..], &from, &[0x88, 0xb5], &message, code.as_ref()].concat())
}
