//! What the kernel notes beside a packet, and the program at TC keeps right: a VLAN tag that was taken aside, and the sum
//! of all of a packet that a device told it (`CHECKSUM_COMPLETE`).
//!
//! No device here tells a sum; the kernel makes one up and looks at it afterwards (`BPF_PROG_TEST_RUN`, Linux 6.11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use aya::programs::SchedClassifier;
use landfall_bpf_lb::desired::{BackendState, Desired, Protocol};
use landfall_bpf_lb::{AttachMode, Director, Settings, Verdict};
use support::frames::{Flow, SYN, Shape, see, shaped};
use support::scene::{PROTOCOLS, families};
use support::{Node, index, on};

use BackendState::Active;

/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`.
const COMPLETE: u32 = 1 << 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// What `BPF_PROG_TEST_RUN` takes (`union bpf_attr`).
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in: u32,
    context_out: u32,
    context: u64,
    context_back: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

/// Has the program at TC receive a frame whose sum the kernel knows, which fails if it is another one afterwards
/// (`EBADMSG`).
fn receive_summed(director: &mut Director, ifindex: u32, frame: &[u8]) -> io::Result<Vec<u8>> {
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    let program = director.programs().program("landfall_tc").unwrap();
    let program: &SchedClassifier = program.try_into().unwrap();
    // The eleventh word of a `struct __sk_buff` is the interface.
    let mut context = [0_u32; 11];
    context[10] = ifindex;
    let mut out = vec![0_u8; frame.len() + 256];
    let mut run = Run {
        program: program.fd().unwrap().as_fd().as_raw_fd().cast_unsigned(),
        size_in: u32::try_from(frame.len()).unwrap(),
        size_out: u32::try_from(out.len()).unwrap(),
        data_in: frame.as_ptr().addr() as u64,
        data_out: out.as_mut_ptr().addr() as u64,
        repeat: 1,
        context_in: u32::try_from(size_of::<[u32; 11]>()).unwrap(),
        context: context.as_ptr().addr() as u64,
        flags: COMPLETE,
        ..Run::default()
    };
    // SAFETY: the buffers live as long as the call, and are as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut run,
            size_of::<Run>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(run.size_out as usize);
    Ok(out)
}

/// The only verdict that was counted since.
fn counted(before: &[(Verdict, u64)], director: &Director) -> Vec<Verdict> {
    let after = director.counters().unwrap();
    let both = after.into_iter().zip(before);
    both.filter(|((_, after), (_, before))| after > before)
        .map(|((verdict, _), _)| verdict)
        .collect()
}

fn at_tc(node: &Node) -> Director {
    let settings = Settings {
        attach: AttachMode::Tc,
        ..node.settings.clone()
    };
    Director::load(&settings).unwrap()
}

#[test]
fn the_sum_that_a_device_told_is_right_after_whatever_is_done_to_a_packet() {
    needs_root!("the_sum_that_a_device_told_is_right_after_whatever_is_done_to_a_packet");
    let node = Node::new();
    let mut director = at_tc(&node);
    for family in families() {
        for protocol in PROTOCOLS {
            for (at, faces, verdict) in [
                (None, node.ifindex, Verdict::Delivered),
                (Some(1), node.ifindex, Verdict::Directed),
                (Some(1), node.other, Verdict::DirectedElsewhere),
            ] {
                let mut wanted = family.desired(protocol, faces, &[(0, at, Active)]);
                wanted.interfaces = on(&[node.ifindex, node.other]).interfaces;
                director.apply(&wanted).unwrap();
                // Odd lengths have their last byte in another place of the sum.
                for (port, length) in (51_000..51_064).zip([0, 1, 7, 64].into_iter().cycle()) {
                    let shape = Shape {
                        payload: vec![0xa5; length],
                        ..SYN.into()
                    };
                    let frame = shaped(family.from(protocol, port), &shape);
                    let before = director.counters().unwrap();
                    match receive_summed(&mut director, node.ifindex, &frame) {
                        Ok(after) => assert_ne!(after, frame),
                        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                            landfall_testbed::skipped(
                                "the_sum_that_a_device_told_is_right_after_whatever_is_done_to_a_packet",
                                "Linux 6.11",
                            );
                            return;
                        }
                        Err(error) => {
                            panic!("{verdict:?} of {:?} from {port}: {error}", family.vip)
                        }
                    }
                    assert_eq!(counted(&before, &director), [verdict]);
                }
            }
        }
    }
}

/// A socket for all frames of an interface.
fn packets(name: &str) -> OwnedFd {
    let all = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be());
    // SAFETY: plain system calls on values of their own.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
        address.sll_ifindex = index(name).cast_signed();
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
        let bound = libc::bind(fd, (&raw const address).cast(), length);
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let wanted = 1_i32;
        let set = libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const wanted).cast(),
            4,
        );
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        let patience = libc::timeval {
            tv_sec: 1,
            tv_usec: 0,
        };
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            u32::try_from(size_of::<libc::timeval>()).unwrap(),
        );
        socket
    }
}

fn put(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the buffer is as long as said.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    assert_eq!(usize::try_from(sent).unwrap(), frame.len());
}

/// The next frame, and the tag that the kernel has taken aside.
fn take(socket: &OwnedFd) -> Option<(Vec<u8>, Option<u16>)> {
    let mut frame = vec![0_u8; 2048];
    let mut control = [0_u64; 16];
    let mut part = libc::iovec {
        iov_base: frame.as_mut_ptr().cast(),
        iov_len: frame.len(),
    };
    // SAFETY: the buffers live as long as the call, and are as long as said; a control message is looked at only where
    // the kernel says that it is.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; 16]>();
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        frame.truncate(usize::try_from(length).ok()?);
        let mut tag = None;
        let mut next = libc::CMSG_FIRSTHDR(&raw const message);
        while !next.is_null() {
            if (*next).cmsg_level == libc::SOL_PACKET && (*next).cmsg_type == libc::PACKET_AUXDATA {
                let said: libc::tpacket_auxdata = libc::CMSG_DATA(next)
                    .cast::<libc::tpacket_auxdata>()
                    .read_unaligned();
                tag =
                    (said.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(said.tp_vlan_tci);
            }
            next = libc::CMSG_NXTHDR(&raw const message, next);
        }
        Some((frame, tag))
    }
}

/// A director on both interfaces, whose other node is behind `faces`, and a tagged frame to the VIP.
fn tagged(node: &Node, faces: u32) -> (Director, Flow, Vec<u8>) {
    let [family, _] = families();
    let mut director = at_tc(node);
    let mut wanted: Desired = family.desired(Protocol::Tcp, faces, &[(0, Some(1), Active)]);
    wanted.interfaces = on(&[node.ifindex, node.other]).interfaces;
    let applied = director.apply(&wanted).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    let flow = family.flow(Protocol::Tcp);
    let shape = Shape {
        tags: vec![0x6007],
        ..SYN.into()
    };
    (director, flow, shaped(flow, &shape))
}

#[test]
fn a_packet_whose_tag_lies_beside_it_is_directed_back_with_it() {
    needs_root!("a_packet_whose_tag_lies_beside_it_is_directed_back_with_it");
    let node = Node::new();
    let (director, flow, frame) = tagged(&node, node.ifindex);
    let before = director.counters().unwrap();
    let outside = packets("seg0p");
    put(&outside, &frame);
    let begun = Instant::now();
    let (back, tag) = loop {
        assert!(begun.elapsed() < PATIENCE, "nothing came back");
        if let Some((back, tag)) = take(&outside)
            && back[6..12] == support::OWN
        {
            break (back, tag);
        }
    };
    assert_eq!(tag, Some(0x6007), "{back:02x?}");
    assert_eq!(see(&back).to, flow.to);
    // And leaves by the way that replies do.
    let seen = [Verdict::Directed, Verdict::ReplyUntracked];
    assert_eq!(counted(&before, &director), seen);
}

#[test]
fn a_packet_whose_tag_lies_beside_it_is_not_sent_out_of_another_interface() {
    needs_root!("a_packet_whose_tag_lies_beside_it_is_not_sent_out_of_another_interface");
    let node = Node::new();
    let (director, _, frame) = tagged(&node, node.other);
    let before = director.counters().unwrap();
    put(&packets("seg0p"), &frame);
    let begun = Instant::now();
    while counted(&before, &director).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it was not seen");
        std::thread::yield_now();
    }
    assert_eq!(counted(&before, &director), [Verdict::Tagged]);
}
