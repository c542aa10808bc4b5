//! Where the programs run on an interface, and why there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use landfall_bpf_lb::desired::{BackendState, Desired, Protocol};
use landfall_bpf_lb::{AttachError, AttachMode, Attached, Director, Settings, Verdict, XdpPath};
use support::frames::{CLIENT_MAC, Shape, see, shaped};
use support::icmp::echo;
use support::run::{PASS, TX, receive_by};
use support::scene::{HOPS, families};
use support::{Node, OWN, eventually, ip, on, problem, run_command};

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
        let shape = Shape {
            payload: vec![0x5a; 8_900],
            ..Shape::default()
        };
        let [client, vip] = [family.client.ip(), family.vip.ip()];
        let sent = echo(client, vip, false, &shape);
        let ran = receive_by(&mut director, "landfall_xdp_frags", node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (TX, Verdict::Echoed));
        let back = Shape {
            source: OWN,
            destination: CLIENT_MAC,
            ..shape
        };
        assert_eq!(ran.frame, echo(vip, client, true, &back));
    }
    Director::remove(&settings).unwrap();
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(!shown.contains("prog/xdp id"), "{shown}");
}

#[test]
fn why_the_programs_are_not_in_the_driver_is_said_also_after_a_restart() {
    needs_root!("why_the_programs_are_not_in_the_driver_is_said_also_after_a_restart");
    let node = Node::new();
    let on_it = on(&[node.ifindex]);
    for _ in 0..2 {
        let mut director = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
        let found = attached(&mut director, &node, &on_it);
        assert_eq!(found.path, XdpPath::Tc);
        let why = found.why_generic.unwrap();
        assert!(why.contains("veth"), "{why}");
    }
    // Whoever wants it so needs no reason.
    let mut director = Director::load(&in_mode(&node, AttachMode::Tc)).unwrap();
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.why_generic), (XdpPath::Tc, None));
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
    assert_eq!(found.path, XdpPath::Tc);
    assert!(found.why_generic.unwrap().contains("rxvlan off"));
    auto.apply(&Desired::default()).unwrap();
    strips("off");
    let found = attached(&mut director, &node, &desired);
    assert_eq!(found.path, XdpPath::Native);
}

/// The TC programs on received packets of the interface, in their order.
fn received_by() -> Vec<u32> {
    let (_, chain) = SchedClassifier::query_tcx("seg0", TcAttachType::Ingress).unwrap();
    chain.iter().map(aya::programs::ProgramInfo::id).collect()
}

#[test]
fn the_program_at_tc_stays_while_nothing_runs_is_replaced_in_place_and_goes_with_the_rest() {
    needs_root!(
        "the_program_at_tc_stays_while_nothing_runs_is_replaced_in_place_and_goes_with_the_rest"
    );
    let node = Node::new();
    let settings = in_mode(&node, AttachMode::Tc);
    let on_it = on(&[node.ifindex]);
    let mut director = Director::load(&settings).unwrap();
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.replaced), (XdpPath::Tc, false));
    drop(director);
    let before = received_by();
    assert_eq!(before.len(), 1);
    let mut director = Director::load(&settings).unwrap();
    let after = received_by();
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
    assert_eq!(director.interfaces().unwrap(), [node.ifindex].into());
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.replaced), (XdpPath::Tc, true));
    assert_eq!(received_by(), after, "it has nothing to do");
    director.apply(&Desired::default()).unwrap();
    assert!(received_by().is_empty());
    attached(&mut director, &node, &on_it);
    Director::remove(&settings).unwrap();
    assert!(received_by().is_empty());
    assert!(!settings.pin_dir.exists());
}

#[test]
fn what_an_earlier_process_put_before_the_network_stack_goes_to_tc() {
    needs_root!("what_an_earlier_process_put_before_the_network_stack_goes_to_tc");
    let node = Node::new();
    let on_it = on(&[node.ifindex]);
    let mut director = Director::load(&in_mode(&node, AttachMode::Generic)).unwrap();
    let found = attached(&mut director, &node, &on_it);
    assert_eq!(found.path, XdpPath::Generic);
    let mut director = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
    for _ in 0..2 {
        let found = attached(&mut director, &node, &on_it);
        assert_eq!((found.path, found.replaced), (XdpPath::Tc, true));
        assert_eq!(received_by().len(), 1);
        let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
        assert!(!shown.contains("prog/xdp id"), "{shown}");
    }
}

#[test]
fn received_packets_are_seen_before_any_other_tc_program_or_that_one_is_named() {
    needs_root!("received_packets_are_seen_before_any_other_tc_program_or_that_one_is_named");
    let node = Node::new();
    let mut director = Director::load(&in_mode(&node, AttachMode::Tc)).unwrap();
    let mut loader = aya::EbpfLoader::new();
    loader.default_map_pin_directory(node.settings.pin_dir.join("maps"));
    let mut strangers = loader.load(landfall_bpf_lb::object::BENCH).unwrap();
    let stranger: &mut SchedClassifier = strangers
        .program_mut("bench_accept")
        .unwrap()
        .try_into()
        .unwrap();
    stranger.load().unwrap();
    let first = || TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = stranger
        .attach_with_options("seg0", TcAttachType::Ingress, first())
        .unwrap();
    let theirs = stranger.info().unwrap().id();
    attached(&mut director, &node, &on(&[node.ifindex]));
    let programs = received_by();
    assert_eq!((programs.len(), programs[1]), (2, theirs));
    stranger.detach(link).unwrap();
    // A process that another test starts has the link, too, for the moment between fork and exec.
    eventually("it is gone", || !received_by().contains(&theirs));
    stranger
        .attach_with_options("seg0", TcAttachType::Ingress, first())
        .unwrap();
    assert_eq!(received_by(), [theirs, programs[0]]);
    let named = problem(director.apply(&on(&[node.ifindex])).unwrap());
    assert!(
        matches!(named, AttachError::Preceded { program: "landfall_tc", prog_id, .. } if prog_id == theirs),
        "{named}"
    );
}

#[test]
fn before_tc_had_links_a_filter_directs_and_is_removed_as_well() {
    needs_root!("before_tc_had_links_a_filter_directs_and_is_removed_as_well");
    let node = Node::new();
    let settings = Settings {
        tc_links: false,
        ..in_mode(&node, AttachMode::Auto)
    };
    let filters = || run_command("tc", &["filter", "show", "dev", "seg0", "ingress"]);
    let on_it = on(&[node.ifindex]);
    let mut director = Director::load(&settings).unwrap();
    for _ in 0..2 {
        let found = attached(&mut director, &node, &on_it);
        assert_eq!(found.path, XdpPath::Tc);
    }
    assert!(filters().contains("landfall_tc"), "{}", filters());
    drop(director);
    let mut director = Director::load(&settings).unwrap();
    assert_eq!(director.interfaces().unwrap(), [node.ifindex].into());
    attached(&mut director, &node, &on_it);
    assert_eq!(filters().matches("handle").count(), 1, "{}", filters());
    director.apply(&Desired::default()).unwrap();
    assert!(!filters().contains("landfall_tc"), "{}", filters());
    attached(&mut director, &node, &on_it);
    Director::remove(&settings).unwrap();
    assert!(!filters().contains("landfall_tc"), "{}", filters());
    assert!(!settings.pin_dir.exists());
}

#[test]
fn where_the_tables_are_new_the_program_of_before_serves_until_they_are_filled() {
    needs_root!("where_the_tables_are_new_the_program_of_before_serves_until_they_are_filled");
    let node = Node::new();
    let settings = in_mode(&node, AttachMode::Tc);
    let on_it = on(&[node.ifindex]);
    let mut director = Director::load(&settings).unwrap();
    attached(&mut director, &node, &on_it);
    drop(director);
    let before = received_by();
    let larger = Settings {
        slots: 2 * settings.slots,
        ..settings
    };
    let mut director = Director::load(&larger).unwrap();
    assert_eq!(received_by(), before);
    let found = attached(&mut director, &node, &on_it);
    assert_eq!((found.path, found.replaced), (XdpPath::Tc, true));
    let after = received_by();
    assert_eq!(after.len(), 1);
    assert_ne!(after, before);
}
