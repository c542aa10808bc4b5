//! Whether an interface can transmit what native XDP on another one sends out of it, and what becomes of that one.
//!
//! A veth transmits XDP frames where its peer receives them by NAPI: with GRO, or a program of its own (Linux 6.3 says
//! so). A bridge does not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::time::SystemTime;

use landfall_bpf_lb::desired::{BackendState, Desired, Hop, Protocol};
use landfall_bpf_lb::{Applied, AttachError, AttachMode, Director, Settings, XdpPath};
use support::scene::families;
use support::{Node, index, ip, on, run_command};

/// Frames that come in by either interface, `out_of` being the one that faces the other nodes.
fn wanted(interfaces: &[u32], out_of: u32) -> Desired {
    let [family, _] = families();
    let elsewhere = [(0, Some(1), BackendState::Active)];
    let mut wanted = family.desired(Protocol::Tcp, out_of, &elsewhere);
    let towards = wanted.hops.values().flatten();
    assert!(towards.into_iter().all(|hop: &Hop| hop.ifindex == out_of));
    wanted.interfaces = on(interfaces).interfaces;
    wanted
}

fn director(node: &Node, attach: AttachMode) -> Director {
    let settings = Settings {
        attach,
        ..node.settings.clone()
    };
    Director::load(&settings).unwrap()
}

fn gro(name: &str, is_on: bool) {
    let state = if is_on { "on" } else { "off" };
    run_command("ethtool", &["-K", name, "gro", state]);
}

/// The interfaces of which it is said that native XDP there would lose what it sends out of another one.
fn refused(applied: &Applied) -> Vec<(&str, &str)> {
    let refused = applied.problems.iter();
    refused
        .map(|problem| match problem {
            AttachError::CannotTransmit { name, to } => (name.as_str(), to.as_str()),
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn native_xdp_is_refused_where_it_would_send_out_of_an_interface_that_cannot_transmit() {
    needs_root!(
        "native_xdp_is_refused_where_it_would_send_out_of_an_interface_that_cannot_transmit"
    );
    let node = Node::new();
    let mut director = director(&node, AttachMode::Native);
    let wanted = wanted(&[node.ifindex, node.other], node.other);
    // Again and again: neither is tried anew.
    for _ in 0..3 {
        gro("seg1p", false);
        let applied = director.apply(&wanted).unwrap();
        assert_eq!(refused(&applied), [("seg0", "seg1")]);
        let paths = applied.interfaces.iter().map(|(at, on)| (*at, on.path));
        assert_eq!(
            paths.collect::<Vec<_>>(),
            [(node.other, XdpPath::Native)],
            "what faces the nodes sends their frames back out of itself"
        );
        let shown = run_command("ip", &["link", "show", "seg0"]);
        assert!(!shown.contains("prog/xdp"), "{shown}");
    }
    gro("seg1p", true);
    let applied = director.apply(&wanted).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    assert_eq!(applied.interfaces[&node.ifindex].path, XdpPath::Native);
}

/// When a link was last pinned, or one's pin removed.
fn pinned(node: &Node) -> SystemTime {
    let links = node.settings.pin_dir.join("links").metadata();
    links.unwrap().modified().unwrap()
}

#[test]
fn what_an_earlier_process_found_that_it_cannot_transmit_is_not_tried_anew_after_a_restart() {
    needs_root!(
        "what_an_earlier_process_found_that_it_cannot_transmit_is_not_tried_anew_after_a_restart"
    );
    let node = Node::new();
    gro("seg1p", false);
    let wanted = wanted(&[node.ifindex, node.other], node.other);
    let check = |director: &mut Director| {
        let applied = director.apply(&wanted).unwrap();
        assert_eq!(refused(&applied), [("seg0", "seg1")]);
        assert_eq!(applied.interfaces[&node.other].path, XdpPath::Native);
    };
    check(&mut director(&node, AttachMode::Native));
    let before = pinned(&node);
    check(&mut director(&node, AttachMode::Native));
    assert_eq!(pinned(&node), before);
    // And when it can by then, it is used.
    gro("seg1p", true);
    let applied = director(&node, AttachMode::Native).apply(&wanted).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    assert_eq!(applied.interfaces[&node.ifindex].path, XdpPath::Native);
    assert!(pinned(&node) > before);
}

#[test]
fn native_xdp_is_refused_from_the_first_where_the_other_interface_knows_no_xdp() {
    needs_root!("native_xdp_is_refused_from_the_first_where_the_other_interface_knows_no_xdp");
    let node = Node::new();
    ip(&["link", "add", "bridge", "type", "bridge"]);
    let mut director = director(&node, AttachMode::Native);
    let bridge = index("bridge");
    let mut applied = director
        .apply(&wanted(&[node.ifindex, bridge], bridge))
        .unwrap();
    let is_bridges = |problem: &AttachError| matches!(problem, AttachError::Program { name, .. } if name == "bridge");
    applied.problems.retain(|problem| !is_bridges(problem));
    assert_eq!(refused(&applied), [("seg0", "bridge")]);
    assert!(director.interfaces().unwrap().is_empty());
}

#[test]
fn who_sends_out_of_one_interface_alone_or_not_by_native_xdp_need_not_know() {
    needs_root!("who_sends_out_of_one_interface_alone_or_not_by_native_xdp_need_not_know");
    for (mode, path) in [
        (AttachMode::Native, XdpPath::Native),
        (AttachMode::Tc, XdpPath::Tc),
        (AttachMode::Generic, XdpPath::Generic),
    ] {
        let node = Node::new();
        gro("seg0p", false);
        let mut interfaces = vec![node.ifindex];
        if mode != AttachMode::Native {
            interfaces.push(node.other);
        }
        let mut director = director(&node, mode);
        let applied = director.apply(&wanted(&interfaces, node.ifindex)).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert!(applied.interfaces.values().all(|on| on.path == path));
    }
}
