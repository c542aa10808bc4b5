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
