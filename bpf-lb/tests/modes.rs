//! Another mode than that of the process before: where the program for received packets is then, and what is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::ffi::CString;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use landfall_bpf_lb::desired::{BackendState, Protocol};
use landfall_bpf_lb::{AttachError, AttachMode, Director, Settings, Verdict, XdpPath};
use support::hosts::Host;
use support::scene::families;
use support::{Node, OWN, index, ip, on, problem, run_command};

const MODES: [(AttachMode, XdpPath); 3] = [
    (AttachMode::Native, XdpPath::Native),
    (AttachMode::Tc, XdpPath::Tc),
    (AttachMode::Generic, XdpPath::Generic),
];

fn in_mode(node: &Node, attach: AttachMode) -> Settings {
    Settings {
        attach,
        ..node.settings.clone()
    }
}

/// Where the kernel says that the program is.
fn places(name: &str) -> Vec<XdpPath> {
    let shown = run_command("ip", &["-details", "link", "show", name]);
    let (_, chain) = SchedClassifier::query_tcx(name, TcAttachType::Ingress).unwrap();
    let filters = run_command("tc", &["filter", "show", "dev", name, "ingress"]);
    let at_tc = chain.len() + filters.matches("handle").count();
    let mut places = vec![XdpPath::Tc; at_tc];
    if shown.contains("prog/xdp id") {
        let is_generic = shown.contains(" xdpgeneric ");
        places.push(if is_generic {
            XdpPath::Generic
        } else {
            XdpPath::Native
        });
    }
    places
}

#[test]
fn another_mode_takes_effect_at_the_next_start_wherever_the_program_was() {
    needs_root!("another_mode_takes_effect_at_the_next_start_wherever_the_program_was");
    for tc_links in [true, false] {
        let mut node = Node::new();
        node.settings.tc_links = tc_links;
        for (before, from) in MODES {
            for (mode, to) in MODES {
                for (mode, path) in [(before, from), (mode, to)] {
                    let mut director = Director::load(&in_mode(&node, mode)).unwrap();
                    // What runs already is looked at otherwise.
                    for _ in 0..2 {
                        let applied = director.apply(&on(&[node.ifindex])).unwrap();
                        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
                        let found = &applied.interfaces[&node.ifindex];
                        assert_eq!((found.path, &found.why_generic), (path, &None));
                        assert_eq!(places("seg0"), [path], "{from} to {to}");
                    }
                }
            }
        }
    }
}

/// Has datagrams come from the client as fast as it can, as long as somebody holds the other end.
fn flood(client: &Host, while_held: Weak<()>) {
    client.run(move || {
        let socket = UdpSocket::bind("198.51.100.7:0").unwrap();
        socket.connect(families()[0].vip).unwrap();
        thread::spawn(move || {
            while while_held.upgrade().is_some() {
                // What is sent faster than the cable takes it is lost here.
                let _ = socket.send(&[0; 100]);
            }
        });
    });
}

#[test]
fn no_packet_falls_to_the_kernel_while_the_program_goes_elsewhere() {
    needs_root!("no_packet_falls_to_the_kernel_while_the_program_goes_elsewhere");
    let [client, owner] = [Host::new(), Host::new()];
    owner.cable("eth0", &client, "eth0");
    let mac = OWN.map(|byte| format!("{byte:02x}")).join(":");
    owner.ip(&format!(
        "link set eth0 address {mac}
         link set eth0 up
         addr add 192.0.2.10/32 dev eth0
         route add 198.51.100.0/24 dev eth0"
    ));
    client.ip(&format!(
        "link set eth0 up
         addr add 198.51.100.7/24 dev eth0
         route add 192.0.2.10/32 dev eth0
         neigh replace 192.0.2.10 lladdr {mac} dev eth0 nud permanent"
    ));
    // The VIP is the kernel's as well: what nobody serves arrives here.
    let kernels = owner.run(|| UdpSocket::bind(families()[0].vip).unwrap());
    let wait = Some(Duration::from_secs(10));
    kernels.set_read_timeout(wait).unwrap();
    client.run(|| {
        let socket = UdpSocket::bind("198.51.100.7:0").unwrap();
        socket.send_to(&[0], families()[0].vip).unwrap();
    });
    kernels.recv(&mut [0]).expect("nobody serves it yet");
    kernels.set_nonblocking(true).unwrap();
    let held = Arc::new(());
    let (native, tc, generic) = (MODES[0], MODES[1], MODES[2]);
    for (number, (attach, path)) in [native, tc, native, generic, tc, generic, native]
        .into_iter()
        .enumerate()
    {
        let settings = Settings {
            attach,
            ..owner.settings.clone()
        };
        let delivered = move || {
            let mut director = Director::load(&settings).unwrap();
            let before = director.counters().unwrap()[Verdict::Delivered as usize].1;
            let local = [(0, None, BackendState::Active)];
            let desired = families()[0].desired(Protocol::Udp, index("eth0"), &local);
            let applied = director.apply(&desired).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            assert_eq!(applied.interfaces[&index("eth0")].path, path);
            director.counters().unwrap()[Verdict::Delivered as usize].1 - before
        };
        let delivered = owner.run(delivered);
        if number == 0 {
            flood(&client, Arc::downgrade(&held));
        } else {
            println!("{delivered} delivered while it went to {path}");
            assert_ne!(delivered, 0);
        }
        let missed = kernels.recv(&mut [0]).map_err(|error| error.kind());
        assert_eq!(missed, Err(ErrorKind::WouldBlock), "on the way to {path}");
    }
    drop(held);
}

#[test]
fn native_goes_where_auto_wants_it_at_tc() {
    needs_root!("native_goes_where_auto_wants_it_at_tc");
    let node = Node::new();
    for (mode, path) in [
        (AttachMode::Native, XdpPath::Native),
        (AttachMode::Auto, XdpPath::Tc),
    ] {
        let mut director = Director::load(&in_mode(&node, mode)).unwrap();
        let applied = director.apply(&on(&[node.ifindex])).unwrap();
        assert_eq!(applied.interfaces[&node.ifindex].path, path);
        assert_eq!(places("seg0"), [path]);
    }
}

#[test]
fn what_serves_stays_where_another_mode_cannot_be_had_and_both_are_said() {
    needs_root!("what_serves_stays_where_another_mode_cannot_be_had_and_both_are_said");
    let node = Node::new();
    // Its driver knows nothing of XDP.
    let vxlan = "link add vxlan0 type vxlan id 5 dstport 4789";
    ip(&vxlan.split(' ').collect::<Vec<_>>());
    let on_it = on(&[index("vxlan0")]);
    for (before, path) in [
        (AttachMode::Tc, XdpPath::Tc),
        (AttachMode::Generic, XdpPath::Generic),
    ] {
        let mut director = Director::load(&in_mode(&node, before)).unwrap();
        let applied = director.apply(&on_it).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        let mut director = Director::load(&in_mode(&node, AttachMode::Native)).unwrap();
        for _ in 0..2 {
            let applied = director.apply(&on_it).unwrap();
            let found = applied.interfaces[&index("vxlan0")].path;
            assert_eq!((found, places("vxlan0")), (path, vec![path]));
            let said = problem(applied);
            assert!(matches!(said, AttachError::Stays { .. }), "{said}");
            let said = said.to_string();
            for part in ["vxlan0", path.to_string().as_str(), "native"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        // Who takes any place has none to complain of, and says why it is not the first.
        let mut director = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
        for _ in 0..2 {
            let applied = director.apply(&on_it).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            let found = &applied.interfaces[&index("vxlan0")];
            assert_eq!(
                (found.path, places("vxlan0")),
                (XdpPath::Tc, vec![found.path])
            );
            let why = found.why_generic.as_ref().unwrap();
            assert!(why.contains("its driver refuses native XDP"), "{why}");
        }
    }
}

#[test]
fn another_xdp_program_keeps_ours_at_tc_whatever_the_mode() {
    needs_root!("another_xdp_program_keeps_ours_at_tc_whatever_the_mode");
    let node = Node::new();
    let on_it = on(&[node.ifindex]);
    let mut director = Director::load(&in_mode(&node, AttachMode::Tc)).unwrap();
    director.apply(&on_it).unwrap();
    let path = node.settings.pin_dir.join("stranger");
    let stranger = director.programs().program_mut("landfall_empty").unwrap();
    let stranger: &mut aya::programs::Xdp = stranger.try_into().unwrap();
    stranger.load().unwrap();
    stranger.pin(&path).unwrap();
    let id = stranger.info().unwrap().id();
    let theirs = path.to_str().unwrap();
    ip(&["link", "set", "dev", "seg0", "xdpgeneric", "pinned", theirs]);
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let mut director = Director::load(&in_mode(&node, mode)).unwrap();
        let applied = director.apply(&on_it).unwrap();
        assert_eq!(applied.interfaces[&node.ifindex].path, XdpPath::Tc);
        let said = problem(applied).to_string();
        assert!(said.contains(&format!("(id {id})")), "{said}");
    }
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(shown.contains(&format!("id {id} ")), "{shown}");
    assert!(places("seg0").contains(&XdpPath::Tc));
}

#[test]
fn native_programs_stay_on_a_trunk_until_those_at_tc_are_there() {
    needs_root!("native_programs_stay_on_a_trunk_until_those_at_tc_are_there");
    let node = Node::new();
    let mut auto = Director::load(&in_mode(&node, AttachMode::Auto)).unwrap();
    let mut director = Director::load(&in_mode(&node, AttachMode::Native)).unwrap();
    let mut desired = on(&[node.ifindex]);
    director.apply(&desired).unwrap();
    assert_eq!(places("seg0"), [XdpPath::Native]);
    run_command("ethtool", &["-K", "seg0", "rxvlan", "on"]);
    desired.interfaces.get_mut(&node.ifindex).unwrap().is_trunk = true;
    // A pin that is none is in the way at TC.
    let pin = format!("links/xdp-tc-{}", node.ifindex);
    let pin = node.settings.pin_dir.join(pin);
    std::fs::create_dir(&pin).unwrap();
    problem(auto.apply(&desired).unwrap());
    assert_eq!(places("seg0"), [XdpPath::Native]);
    std::fs::remove_dir(&pin).unwrap();
    let applied = auto.apply(&desired).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    let found = &applied.interfaces[&node.ifindex];
    assert_eq!(
        (found.path, places("seg0")),
        (XdpPath::Tc, vec![found.path])
    );
    let why = found.why_generic.as_ref().unwrap();
    assert!(why.contains("rxvlan off"), "{why}");
}

#[test]
fn what_is_at_tc_stays_where_native_programs_would_not_see_the_tags_of_vlans() {
    needs_root!("what_is_at_tc_stays_where_native_programs_would_not_see_the_tags_of_vlans");
    let node = Node::new();
    run_command("ethtool", &["-K", "seg0", "rxvlan", "on"]);
    let mut desired = on(&[node.ifindex]);
    desired.interfaces.get_mut(&node.ifindex).unwrap().is_trunk = true;
    let mut director = Director::load(&in_mode(&node, AttachMode::Tc)).unwrap();
    director.apply(&desired).unwrap();
    let mut director = Director::load(&in_mode(&node, AttachMode::Native)).unwrap();
    let applied = director.apply(&desired).unwrap();
    let found = applied.interfaces[&node.ifindex].path;
    assert_eq!((found, places("seg0")), (XdpPath::Tc, vec![XdpPath::Tc]));
    let said = problem(applied).to_string();
    assert!(said.contains("rxvlan off"), "{said}");
    println!("{said}");
}

/// Detaches a link by force, as `bpftool link detach` does; its pin stays.
fn detach_by_force(pin: &Path) {
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    #[repr(C)]
    #[derive(Default)]
    struct ObjectGet {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(pin.to_str().unwrap()).unwrap();
    let get = ObjectGet {
        path: path.as_ptr() as u64,
        ..ObjectGet::default()
    };
    // SAFETY: the attributes and the path are alive during the call.
    let link = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const get,
            size_of::<ObjectGet>(),
        )
    };
    let link = i32::try_from(link).unwrap();
    assert!(link >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that nobody else has.
    let held = unsafe { OwnedFd::from_raw_fd(link) };
    // SAFETY: the command reads one descriptor, which is open during the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const link, 4) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    drop(held);
}

#[test]
fn a_program_that_is_detached_by_force_is_back_at_the_next_look() {
    needs_root!("a_program_that_is_detached_by_force_is_back_at_the_next_look");
    for (mode, path) in MODES {
        let node = Node::new();
        let mut director = Director::load(&in_mode(&node, mode)).unwrap();
        let on_it = on(&[node.ifindex]);
        director.apply(&on_it).unwrap();
        let leaving = || {
            let egress = TcAttachType::Egress;
            SchedClassifier::query_tcx("seg0", egress).unwrap().1.len()
        };
        for link in ["egress", &format!("xdp-{path}")] {
            let pin = format!("links/{link}-{}", node.ifindex);
            detach_by_force(&node.settings.pin_dir.join(pin));
            assert_eq!(leaving() + places("seg0").len(), 1, "{link}");
            let applied = director.apply(&on_it).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            assert_eq!((leaving(), places("seg0")), (1, vec![path]), "{link}");
        }
    }
}
