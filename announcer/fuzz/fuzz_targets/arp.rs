//! Any bytes as the payload of an ARP frame: what is understood can be said again.
#![no_main]

use landfall_wire::Mac;
use landfall_wire::arp::Arp;
use landfall_wire::buffer;
use landfall_wire::ethernet::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(arp) = Arp::parse(payload) else {
        return;
    };
    let mut out = buffer();
    let length = arp.emit(Mac::BROADCAST, &mut out);
    let frame = Frame::parse(&out[..length]).expect("a frame of ours");
    assert_eq!(frame.destination, Mac::BROADCAST);
    assert_eq!(Arp::parse(frame.payload), Ok(arp));
});
