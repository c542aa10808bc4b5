//! Any bytes as a frame of another announcer: without the key none is believed; with it, what is understood can be said
//! again.
#![no_main]

use std::time::Duration;

use landfall_wire::Mac;
use landfall_wire::link::{bpf_vm, filter};
use landfall_wire::peers::{Body, ClusterId, GROUP, KeyRing, Listener, Refusal, Speaker, letter};
use libfuzzer_sys::fuzz_target;

const ME: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const CLUSTER: ClusterId = ClusterId([7; 8]);
const KEY: [u8; 32] = [1; 32];

fn ring() -> KeyRing {
    KeyRing::new([&KEY[..]]).expect("a key")
}

fuzz_target!(|bytes: &[u8]| {
    let mut listener = Listener::new(CLUSTER, ring());
    let now = Duration::from_secs(1);
    let heard = listener.hear(1, ME, bytes, now);
    let way = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    assert!(
        letter::open(CLUSTER, &ring(), way, bytes).is_err(),
        "a letter without the key"
    );
    let sealed = letter::seal(CLUSTER, &ring(), way, bytes);
    assert_eq!(letter::open(CLUSTER, &ring(), way, &sealed), Ok(bytes));
    assert!(heard.is_err(), "believed without the key");
    if heard != Err(Refusal::EtherType) && heard != Err(Refusal::Truncated) {
        assert!(
            bpf_vm::keeps(&filter::peers(), bytes, 0, false),
            "the filter would drop it"
        );
    }
    // The same as the message of somebody who has the key: no amount of guessing would.
    let Some(frame) = landfall_announcer_fuzz::signed(bytes, GROUP.0, PEER.0, CLUSTER.0, &KEY)
    else {
        return;
    };
    let Ok(frame) = listener.hear(1, ME, &frame, now) else {
        return;
    };
    let mut speaker = Speaker::new(CLUSTER);
    let mut again = Listener::new(CLUSTER, ring());
    let keys = ring();
    let key = keys.signing([]);
    let mut said = Vec::new();
    speaker
        .say(&frame, GROUP, PEER, key, |bytes| said.push(bytes.to_vec()))
        .expect("what was heard can be said");
    match &frame.body {
        Body::Beat(_) | Body::Fenced(_) => {
            assert_eq!(said.len(), 1);
            assert_eq!(again.hear(1, ME, &said[0], now), Ok(frame));
        }
        _ => {
            for piece in &said {
                assert!(again.hear(1, ME, piece, now).is_ok());
            }
        }
    }
});
