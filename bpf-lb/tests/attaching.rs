//! Where the programs run on an interface, and why there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use landfall_bpf_lb::desired::{BackendState, Desired, Protocol};
use landfall_bpf_lb::{AttachError, AttachMode, Attached, Director, Settings, Verdict, XdpPath};
use support::frames::{Shape, see, shaped};
use support::run::{PASS, TX, receive_by};
use support::scene::{HOPS, families};
use support::{Node, ip, on, problem, run_command};

fn in_mode(node: &Node, attach: AttachMode) -> Settings {
    Settings {
        attach,
        ..node.settings.clone()
    }
}

#[track_caller]
fn attached(director: &mut Director, node: &Node, desired: &Desired) -> Attached {
    let applied = director.apply(desired).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    applied.interfaces[&node.ifindex].clone()
}

#[test]
fn jumbo_frames_are_directed_and_delivered_in_the_driver() {
    needs_root!("jumbo_frames_are_directed_and_delivered_in_the_driver");
    let node = Node::new();
    for end in ["seg0", "seg0p"] {
        ip(&["link", "set", end, "mtu", "9000"]);
    }
    let settings = in_mode(&node, AttachMode::Native);
    let mut director = Director::load(&settings).unwrap();
    let on_it = on(&[node.ifindex]);
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.why_generic), (XdpPath::Frags, None));
    // A restart finds it, and puts the same kind in its place.
    let mut director = Director::load(&settings).unwrap();
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.replaced), (XdpPath::Frags, true));
    for family in families() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (at, action, verdict) in [
                (Some(1), TX, Verdict::Directed),
                (None, PASS, Verdict::Delivered),
            ] {
                let backends = [(0, at, BackendState::Active)];
                let desired = family.desired(protocol, node.ifindex, &backends);
                director.apply(&desired).unwrap();
                // Its end lies in a third buffer.
                let sent = shaped(
                    family.flow(protocol),
                    &Shape {
                        payload: vec![0x5a; 8_900],
                        ..Shape::default()
                    },
                );
                let ran = receive_by(&mut director, "landfall_xdp_frags", node.ifindex, &sent);
                assert_eq!((ran.action, ran.verdict()), (action, verdict));
                let seen = see(&ran.frame);
                match at {
                    Some(node) => assert_eq!(seen.destination_mac, HOPS[node]),
                    None => assert_eq!(seen.to, family.pods[0]),
                }
                assert_eq!(ran.frame[100..], sent[100..]);
            }
        }
    }
    Director::remove(&settings).unwrap();
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(!shown.contains("prog/xdp id"), "{shown}");
}

#[test]
fn why_the_programs_are_in_the_network_stack_is_said_also_after_a_restart() {
    needs_root!("why_the_programs_are_in_the_network_stack_is_said_also_after_a_restart");
    let node = Node::new();
    let on_it = on(&[node.ifindex]);
    for _ in 0..2 {
        let mut director = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
        let found = attached(&mut director, &node, &on_it);
        assert_eq!(found.path, XdpPath::Generic);
        let why = found.why_generic.unwrap();
        assert!(why.contains("veth"), "{why}");
    }
    // Whoever wants it so needs no reason.
    let mut director = Director::load(&in_mode(&node, AttachMode::Generic)).unwrap();
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.why_generic), (XdpPath::Generic, None));
}

#[test]
fn native_programs_are_refused_where_the_tags_of_vlans_are_taken_off_before_them() {
    needs_root!("native_programs_are_refused_where_the_tags_of_vlans_are_taken_off_before_them");
    let node = Node::new();
    let strips = |does: &str| run_command("ethtool", &["-K", "seg0", "rxvlan", does]);
    let mut desired = on(&[node.ifindex]);
    let mut director = Director::load(&in_mode(&node, AttachMode::Native)).unwrap();
    strips("on");
    let found = attached(&mut director, &node, &desired);
    assert_eq!(found.path, XdpPath::Native, "there are no VLANs");
    let trunk = desired.interfaces.get_mut(&node.ifindex).unwrap();
    trunk.is_trunk = true;
    let refused = problem(director.apply(&desired).unwrap());
    assert!(
        matches!(&refused, AttachError::StrippedTags { name } if name == "seg0"),
        "{refused}"
    );
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(!shown.contains("prog/xdp id"), "{shown}");
    let mut auto = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
    let found = attached(&mut auto, &node, &desired);
    assert_eq!(found.path, XdpPath::Generic);
    assert!(found.why_generic.unwrap().contains("rxvlan off"));
    auto.apply(&Desired::default()).unwrap();
    strips("off");
    let found = attached(&mut director, &node, &desired);
    assert_eq!(found.path, XdpPath::Native);
}
