//! Any bytes as a received frame: what is found lies inside it.
#![no_main]

use landfall_bpf_lb_common::echo::{answer4, answer6, is_request4, is_request6};
use landfall_bpf_lb_common::headers::{Lengths, Network, TCP, UDP, ipv4, ipv6, network};
use landfall_bpf_lb_common::neighbour::concern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let _ = concern(frame, |address| address.words[0] & 1 == 1);
    let Ok(network) = network(frame) else {
        return;
    };
    answered(frame, network);
    for lengths in [Lengths::Checked, Lengths::Trusted] {
        let (found, header) = match network {
            Network::V4(offset) => (ipv4(frame, offset, lengths), offset + 20),
            Network::V6(offset) => (ipv6(frame, offset, lengths), offset + 40),
        };
        let Ok(found) = found else { continue };
        if found.is_error() {
            let quoted = found.offset
                + 8
                + if matches!(network, Network::V4(_)) {
                    20
                } else {
                    40
                };
            assert!(found.offset >= header);
            assert!(quoted + 8 <= frame.len());
            assert!([TCP, UDP].contains(&found.protocol) && found.flags == 0);
            assert_eq!(found.destination.to_ne_bytes(), frame[quoted..quoted + 2]);
            assert_eq!(found.source.to_ne_bytes(), frame[quoted + 2..quoted + 4]);
            continue;
        }
        let minimum = match found.protocol {
            TCP if lengths == Lengths::Checked => 20,
            TCP => 14,
            UDP if lengths == Lengths::Checked => 8,
            UDP => 4,
            other => panic!("protocol {other}"),
        };
        assert!(found.offset >= header);
        assert!(found.offset + minimum <= frame.len());
        assert!(found.protocol == TCP || found.flags == 0);
        let ports = &frame[found.offset..found.offset + 4];
        assert_eq!(found.source.to_ne_bytes(), ports[..2]);
        assert_eq!(found.destination.to_ne_bytes(), ports[2..]);
    }
});

/// An echo request is answered to whom it names as its sender, and what is left as it was is so in its answer.
fn answered(frame: &[u8], network: Network) {
    match network {
        Network::V4(offset) => {
            let Some(request) = frame[offset..].first_chunk() else {
                return;
            };
            if is_request4(request) {
                let mut answer = *request;
                answer4(&mut answer);
                assert_eq!(answer[16..20], request[12..16]);
                assert_eq!(answer[24..], request[24..]);
                assert!(!is_request4(&answer));
            }
        }
        Network::V6(offset) => {
            let Some(request) = frame[offset..].first_chunk() else {
                return;
            };
            if is_request6(request) {
                let mut answer = *request;
                answer6(&mut answer);
                assert_eq!(answer[24..40], request[8..24]);
                assert_eq!(answer[44..], request[44..]);
                assert!(!is_request6(&answer));
            }
        }
    }
}
