//! Any bytes as an IPv6 packet: what is understood as a neighbour message can be said again.
#![no_main]

use landfall_announcer_fuzz::mend_checksum;
use landfall_wire::Mac;
use landfall_wire::buffer;
use landfall_wire::ethernet::Frame;
use landfall_wire::ndp::Ndp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let _ = Ndp::parse(packet);
    let mut packet = packet.to_vec();
    mend_checksum(&mut packet);
    let Ok(ndp) = Ndp::parse(&packet) else {
        return;
    };
    let (from, to) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let mut out = buffer();
    let length = ndp.emit(from, to, &mut out);
    let frame = Frame::parse(&out[..length]).expect("a frame of ours");
    assert_eq!((frame.source, frame.destination), (from, to));
    assert_eq!(Ndp::parse(frame.payload), Ok(ndp));
});
