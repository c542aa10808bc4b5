//! The socket filter in the kernel: that it is taken, and what passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end here")]

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use landfall_bpf_lb::socket_filter::{LeftOut, LeftOutCounts, SocketFilter};

fn filter() -> Option<(SocketFilter, LeftOutCounts)> {
    if !nix::unistd::geteuid().is_root() {
        // Past the test harness, which would hide it.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED (needs root): frames_about_known_addresses_pass_and_others_do_not"
        );
        return None;
    }
    Some(SocketFilter::load(1).unwrap_or_else(|error| panic!("{error}")))
}

/// A frame as an Ethernet socket would see it.
fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[8, 6]);
    frame[28..32].copy_from_slice(&[192, 0, 2, 200]);
    frame[38..42].copy_from_slice(&target);
    frame
}

fn solicitation(extensions: usize, target: IpAddr) -> Vec<u8> {
    let IpAddr::V6(target) = target else {
        unreachable!()
    };
    let mut frame = vec![0; 54 + extensions * 8 + 24];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[20] = if extensions == 0 { 58 } else { 60 };
    for number in 0..extensions {
        frame[54 + number * 8] = if number + 1 == extensions { 58 } else { 60 };
    }
    let message = 54 + extensions * 8;
    frame[message] = 135;
    frame[message + 8..message + 24].copy_from_slice(&target.octets());
    frame
}

/// Which of the frames pass. A datagram socket of this machine has no interface: its index is zero.
fn passing(filter: &mut SocketFilter, frames: &[Vec<u8>]) -> Vec<bool> {
    let (here, there) = UnixDatagram::pair().unwrap();
    there.set_nonblocking(true).unwrap();
    filter.attach(&there).unwrap();
    let passes = |frame: &Vec<u8>| match here.send(frame) {
        Ok(_) => {
            let mut buffer = [0; 512];
            match there.recv(&mut buffer) {
                Ok(length) => {
                    assert_eq!(&buffer[..length], frame.as_slice());
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => panic!("{error}"),
            }
        }
        Err(error) => panic!("{error}"),
    };
    frames.iter().map(passes).collect()
}

#[test]
fn frames_about_known_addresses_pass_and_others_do_not() {
    let Some((mut filter, counts)) = filter() else {
        return;
    };
    let mine6: IpAddr = "2001:db8::64".parse().unwrap();
    let frames = [
        arp([192, 0, 2, 100]),
        arp([192, 0, 2, 101]),
        solicitation(0, mine6),
        solicitation(8, mine6),
        solicitation(9, mine6),
        solicitation(0, "2001:db8::65".parse().unwrap()),
        arp([192, 0, 2, 100])[..41].to_vec(),
        vec![0xff; 200],
    ];
    assert_eq!(passing(&mut filter, &frames), [false; 8]);
    filter.insert(0, "192.0.2.100".parse().unwrap()).unwrap();
    filter.insert(0, mine6).unwrap();
    filter.insert(1, "192.0.2.101".parse().unwrap()).unwrap();
    assert_eq!(
        passing(&mut filter, &frames),
        [true, false, true, true, false, false, false, false]
    );
    filter.remove(0, mine6).unwrap();
    filter.remove(0, mine6).unwrap();
    assert_eq!(
        passing(&mut filter, &frames),
        [true, false, false, false, false, false, false, false]
    );
    // Of each round of eight: one is of no protocol of ours, one has nine headers, one ends before its target.
    let counted = LeftOut::ALL.map(|reason| counts.read(reason).unwrap());
    assert_eq!(counted, [0, 0, 0, 3 * 3, 3 * 5 - 3 - 1, 0]);
}
