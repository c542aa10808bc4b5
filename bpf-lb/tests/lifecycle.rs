//! Restart, other programs on the interface, changed sizes, removal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::BTreeSet;

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use landfall_bpf_lb::desired::{BackendState, Desired, Interface, Protocol};
use landfall_bpf_lb::{
    AttachError, AttachMode, Director, LoadError, Sampler, Settings, Verdict, XdpPath,
};
use support::frames::{SEGMENT, see};
use support::scene::families;
use support::talk::{answers, establish, says};
use support::{Node, eventually, on, problem, run_command};

/// The settings that put the program for received packets at TC.
fn at_tc(node: &Node) -> Settings {
    Settings {
        attach: AttachMode::Tc,
        ..node.settings.clone()
    }
}

const LOCAL: [(usize, Option<usize>, BackendState); 1] = [(0, None, BackendState::Active)];

#[test]
fn a_restart_keeps_connections_and_has_nothing_to_do() {
    needs_root!("a_restart_keeps_connections_and_has_nothing_to_do");
    let node = Node::new();
    for family in families() {
        let desired = family.desired(Protocol::Tcp, node.ifindex, &LOCAL);
        let mut director = node.director();
        director.apply(&desired).unwrap();
        let flow = family.flow(Protocol::Tcp);
        let pod = establish(&mut director, node.ifindex, flow);
        let counted = director.counters().unwrap();
        drop(director);

        let mut director = Director::load(&node.settings).unwrap();
        assert_eq!(director.counters().unwrap(), counted);
        let reply = answers(&mut director, flow, pod, SEGMENT);
        assert_eq!(see(&reply.frame).from, family.vip);
        let applied = director.apply(&desired).unwrap();
        assert_eq!(applied.operations, 0);
        assert!(applied.interfaces[&node.ifindex].replaced);
    }
}

#[test]
fn the_programs_stay_attached_while_nothing_runs() {
    needs_root!("the_programs_stay_attached_while_nothing_runs");
    let node = Node::new();
    drop(node.director());
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(shown.contains("prog/xdp id"), "{shown}");
    Director::remove(&node.settings).unwrap();
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    assert!(!shown.contains("prog/xdp id"), "{shown}");
    assert!(!node.settings.pin_dir.exists());
}

#[test]
fn a_restart_replaces_the_program_in_place() {
    needs_root!("a_restart_replaces_the_program_in_place");
    let program = || {
        let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
        let id = shown
            .split("prog/xdp id ")
            .nth(1)
            .expect("a program")
            .split(' ')
            .next();
        id.unwrap_or_default().to_owned()
    };
    let node = Node::new();
    let _first = node.director();
    let before = program();
    let _second = Director::load(&node.settings).unwrap();
    assert_ne!(program(), before);
}

#[test]
fn an_interface_with_another_program_is_left_to_it() {
    needs_root!("an_interface_with_another_program_is_left_to_it");
    let node = Node::new();
    let mut stranger = node.director();
    let path = node.settings.pin_dir.join("stranger");
    let program: &mut aya::programs::Xdp = stranger
        .programs()
        .program_mut("landfall_empty")
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    program.pin(&path).unwrap();
    for mode in ["xdpgeneric", "xdpdrv"] {
        run_command(
            "ip",
            &[
                "link",
                "set",
                "dev",
                "seg1",
                mode,
                "pinned",
                path.to_str().unwrap(),
            ],
        );
        let id = program.info().unwrap().id();
        let mut director = Director::load(&node.settings).unwrap();
        let both = on(&[node.ifindex, node.other]);
        let applied = director.apply(&both).unwrap();
        // The other interface is served all the same.
        assert!(applied.interfaces.contains_key(&node.ifindex));
        let refused = problem(applied);
        assert!(
            matches!(refused, AttachError::Occupied { ifindex, prog_id } if ifindex == node.other && prog_id == id),
            "{refused}"
        );
        let shown = run_command("ip", &["-details", "link", "show", "seg1"]);
        assert!(shown.contains(&format!("id {id} ")), "{shown}");
        run_command("ip", &["link", "set", "dev", "seg1", mode, "off"]);
    }
    // Once it is gone there is room.
    let mut director = Director::load(&node.settings).unwrap();
    let applied = director.apply(&on(&[node.other])).unwrap();
    assert!(applied.interfaces.contains_key(&node.other));
}

/// The TC programs on leaving packets of an interface, in their order.
fn chain(interface: &str) -> Vec<u32> {
    let (_, chain) = SchedClassifier::query_tcx(interface, TcAttachType::Egress).unwrap();
    chain.iter().map(aya::programs::ProgramInfo::id).collect()
}

#[test]
fn replies_are_seen_before_any_other_program_or_that_one_is_named() {
    needs_root!("replies_are_seen_before_any_other_program_or_that_one_is_named");
    let node = Node::new();
    let mut director = Director::load(&node.settings).unwrap();
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
        .attach_with_options("seg0", TcAttachType::Egress, first())
        .unwrap();
    let theirs = stranger.info().unwrap().id();
    // It was there before: ours comes before it all the same.
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    let programs = chain("seg0");
    assert_eq!((programs.len(), programs[1]), (2, theirs));
    // It comes again and puts itself first: it is not fought with, and not passed over in silence.
    stranger.detach(link).unwrap();
    // A process that another test starts has the link, too, for the moment between fork and exec.
    eventually("it is gone", || !chain("seg0").contains(&theirs));
    let link = stranger
        .attach_with_options("seg0", TcAttachType::Egress, first())
        .unwrap();
    assert_eq!(chain("seg0"), [theirs, programs[0]]);
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.interfaces.contains_key(&node.ifindex));
    let named = problem(applied);
    assert!(
        matches!(named, AttachError::Preceded { prog_id, .. } if prog_id == theirs),
        "{named}"
    );
    stranger.detach(link).unwrap();
    while chain("seg0").contains(&theirs) {
        std::thread::yield_now();
    }
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
}

/// Takes `CAP_SYS_ADMIN` from the calling thread, which no container of the announcer has.
fn without_sys_admin() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const SYS_ADMIN: u32 = 21;
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    // Effective, permitted, inheritable; the low half and the high one.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: both are as large as this version says, and alive during the calls.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets),
            0
        );
        sets[0][0] &= !(1 << SYS_ADMIN);
        assert_eq!(
            libc::syscall(libc::SYS_capset, &raw mut header, &raw mut sets),
            0
        );
    }
}

#[test]
fn what_the_announcers_container_is_permitted_is_enough() {
    needs_root!("what_the_announcers_container_is_permitted_is_enough");
    let node = Node::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            without_sys_admin();
            let mut director = Director::load(&at_tc(&node)).unwrap();
            for _ in 0..2 {
                let applied = director.apply(&on(&[node.ifindex])).unwrap();
                assert!(applied.problems.is_empty(), "{:?}", applied.problems);
                assert!(applied.interfaces.contains_key(&node.ifindex));
                director.sweep().unwrap();
            }
        });
    });
    Director::remove(&node.settings).unwrap();
}

#[test]
fn a_veth_has_the_program_at_tc_unless_asked_otherwise() {
    needs_root!("a_veth_has_the_program_at_tc_unless_asked_otherwise");
    let node = Node::new();
    let path = |attach| {
        let settings = Settings {
            attach,
            ..node.settings.clone()
        };
        let mut director = Director::load(&settings).unwrap();
        let applied = director.apply(&on(&[node.ifindex])).unwrap();
        director.apply(&Desired::default()).unwrap();
        applied.interfaces[&node.ifindex].path
    };
    assert_eq!(path(AttachMode::Auto), XdpPath::Tc);
    assert_eq!(path(AttachMode::Tc), XdpPath::Tc);
    assert_eq!(path(AttachMode::Native), XdpPath::Native);
    assert_eq!(path(AttachMode::Generic), XdpPath::Generic);
}

#[test]
fn an_interface_that_came_back_under_its_old_index_is_attached_anew() {
    needs_root!("an_interface_that_came_back_under_its_old_index_is_attached_anew");
    let node = Node::new();
    let mut director = node.director();
    run_command("ip", &["link", "del", "seg0"]);
    let index = node.ifindex.to_string();
    run_command(
        "ip",
        &[
            "link", "add", "seg0", "index", &index, "type", "veth", "peer", "name", "seg0p",
        ],
    );
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(!applied.interfaces[&node.ifindex].replaced);
}

#[test]
fn a_vanished_interface_does_not_stand_in_a_restarts_way() {
    needs_root!("a_vanished_interface_does_not_stand_in_a_restarts_way");
    let node = Node::new();
    drop(node.director());
    run_command("ip", &["link", "del", "seg0"]);
    let mut director = Director::load(&node.settings).unwrap();
    let applied = director.apply(&Desired::default()).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
}

#[test]
fn interfaces_that_came_and_went_leave_room_for_others() {
    needs_root!("interfaces_that_came_and_went_leave_room_for_others");
    let node = Node::new();
    // More than the map of interfaces holds, one after the other.
    let mut director = Director::load(&node.settings).unwrap();
    for number in 0..70 {
        let name = format!("gone{number}");
        run_command("ip", &["link", "add", &name, "type", "veth"]);
        let applied = director.apply(&on(&[support::index(&name)])).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        run_command("ip", &["link", "del", &name]);
    }
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.interfaces.contains_key(&node.ifindex));
    assert_eq!(director.interfaces().unwrap(), [node.ifindex].into());
}

#[test]
fn a_restart_knows_the_interfaces_it_is_attached_to() {
    needs_root!("a_restart_knows_the_interfaces_it_is_attached_to");
    let node = Node::new();
    drop(node.director());
    let director = Director::load(&node.settings).unwrap();
    assert_eq!(director.interfaces().unwrap(), [node.ifindex].into());
}

#[test]
fn before_tc_had_links_a_filter_does_the_same_and_is_removed_as_well() {
    needs_root!("before_tc_had_links_a_filter_does_the_same_and_is_removed_as_well");
    let mut node = Node::new();
    node.settings.tc_links = false;
    let filters = || run_command("tc", &["filter", "show", "dev", "seg0", "egress"]);
    let mut director = node.director();
    assert!(filters().contains("landfall_egress"), "{}", filters());
    director.apply(&on(&[node.ifindex])).unwrap();
    drop(director);
    // A restart replaces it: there is one, not two.
    let mut director = node.director();
    assert_eq!(filters().matches("handle").count(), 1, "{}", filters());
    director.apply(&Desired::default()).unwrap();
    assert!(!filters().contains("landfall_egress"), "{}", filters());
    director.apply(&on(&[node.ifindex])).unwrap();
    assert!(filters().contains("landfall_egress"), "{}", filters());
    Director::remove(&node.settings).unwrap();
    assert!(!filters().contains("landfall_egress"), "{}", filters());
}

#[test]
fn changed_sizes_make_new_tables_and_keep_connections() {
    needs_root!("changed_sizes_make_new_tables_and_keep_connections");
    let node = Node::new();
    let [family, _] = families();
    let desired = family.desired(Protocol::Tcp, node.ifindex, &LOCAL);
    let mut director = node.director();
    director.apply(&desired).unwrap();
    let flow = family.flow(Protocol::Tcp);
    let pod = establish(&mut director, node.ifindex, flow);
    drop(director);
    let larger = Settings {
        slots: 2 * node.settings.slots,
        ..node.settings.clone()
    };
    let mut director = Director::load(&larger).unwrap();
    assert!(director.apply(&desired).unwrap().operations > 0);
    let reply = answers(&mut director, flow, pod, SEGMENT);
    assert_eq!(see(&reply.frame).from, family.vip);
    let ran = says(&mut director, node.ifindex, flow, SEGMENT);
    assert_eq!(ran.verdict(), Verdict::Delivered);
}

#[test]
fn a_process_that_ended_before_it_had_filled_its_maps_leaves_those_that_serve() {
    needs_root!("a_process_that_ended_before_it_had_filled_its_maps_leaves_those_that_serve");
    let node = Node::new();
    let [family, _] = families();
    let desired = family.desired(Protocol::Tcp, node.ifindex, &LOCAL);
    let mut director = node.director();
    director.apply(&desired).unwrap();
    let flow = family.flow(Protocol::Tcp);
    establish(&mut director, node.ifindex, flow);
    drop(director);
    let serving = chain("seg0");
    let larger = Settings {
        slots: 2 * node.settings.slots,
        ..node.settings.clone()
    };
    drop(Director::load(&larger).unwrap());
    let mut director = Director::load(&larger).unwrap();
    assert_eq!(chain("seg0"), serving);
    // Nor does anybody who looks at packets.
    director
        .take_samples(Sampler::load(&larger).unwrap())
        .unwrap();
    director.take_no_samples().unwrap();
    assert_eq!(chain("seg0"), serving);
    director.apply(&desired).unwrap();
    let filled = chain("seg0");
    assert_ne!(filled, serving);
    let ran = says(&mut director, node.ifindex, flow, SEGMENT);
    assert_eq!(ran.verdict(), Verdict::Delivered);
    drop(director);
    let _director = Director::load(&larger).unwrap();
    assert_ne!(chain("seg0"), filled);
}

#[test]
fn a_map_of_another_version_is_not_misread() {
    needs_root!("a_map_of_another_version_is_not_misread");
    let node = Node::new();
    drop(node.director());
    let maps = node.settings.pin_dir.join("maps");
    std::fs::rename(maps.join("LF_NODES_2"), maps.join("LF_NODES_1")).unwrap();
    let _director = Director::load(&node.settings).unwrap();
    assert!(!maps.join("LF_NODES_1").exists());
    assert!(maps.join("LF_NODES_2").exists());
}

#[test]
fn a_directory_that_is_no_bpffs_is_refused_with_the_remedy() {
    needs_root!("a_directory_that_is_no_bpffs_is_refused_with_the_remedy");
    let refused = Director::load(&Settings::new("/tmp/landfall-no-bpffs"))
        .err()
        .expect("refused");
    assert!(matches!(refused, LoadError::NotBpffs { .. }));
    assert!(refused.to_string().contains("mount -t bpf"));
}

#[test]
fn an_unknown_interface_is_an_error_that_names_it() {
    needs_root!("an_unknown_interface_is_an_error_that_names_it");
    let node = Node::new();
    let mut director = Director::load(&node.settings).unwrap();
    let mut desired = on(&[node.ifindex]);
    let nowhere = Interface {
        name: "nowhere0".into(),
        mac: support::OWN,
        members: BTreeSet::new(),
        is_trunk: false,
    };
    desired.interfaces.insert(9_999, nowhere);
    let error = problem(director.apply(&desired).unwrap());
    assert!(error.to_string().contains("nowhere0"), "{error}");
    // Nothing of the failure stays in the maps.
    let maps = support::maps::interfaces(&node.settings);
    assert_eq!(maps, [node.ifindex]);
    assert_eq!(director.interfaces().unwrap(), [node.ifindex].into());
}

#[test]
fn an_interface_that_cannot_be_freed_does_not_keep_the_programs_on_the_others() {
    needs_root!("an_interface_that_cannot_be_freed_does_not_keep_the_programs_on_the_others");
    let node = Node::new();
    let mut director = node.director();
    director.apply(&on(&[node.ifindex])).unwrap();
    drop(director);
    // A pin that is none, of an interface that comes before.
    let broken = node.settings.pin_dir.join("links/xdp-native-1");
    std::fs::create_dir(&broken).unwrap();
    let error = Director::remove(&node.settings).unwrap_err();
    assert!(error.to_string().contains("xdp-native-1"), "{error}");
    let left = std::fs::read_dir(node.settings.pin_dir.join("links")).unwrap();
    assert_eq!(left.count(), 1);
    // It is tried again, and then nothing is left.
    std::fs::remove_dir(&broken).unwrap();
    Director::remove(&node.settings).unwrap();
    assert!(!node.settings.pin_dir.exists());
}

#[test]
fn removing_what_was_never_there_is_no_error() {
    needs_root!("removing_what_was_never_there_is_no_error");
    let node = Node::new();
    Director::remove(&node.settings).unwrap();
}

#[test]
fn the_kernel_has_room_for_every_size_the_defaults_ask_for() {
    needs_root!("the_kernel_has_room_for_every_size_the_defaults_ask_for");
    let node = Node::new();
    let settings = Settings::new(node.settings.pin_dir.clone());
    Director::load(&settings).unwrap();
}

#[test]
fn the_verifier_has_room_to_spare() {
    needs_root!("the_verifier_has_room_to_spare");
    let node = Node::new();
    let mut director = Director::load(&at_tc(&node)).unwrap();
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    let mut looked_at = |name: &str| {
        let program = director.programs().program_mut(name).unwrap();
        program.info().unwrap().verified_instruction_count()
    };
    for name in ["landfall_xdp", "landfall_tc", "landfall_egress"] {
        // Its limit is a million; kernels older than this one prune less.
        let count = looked_at(name).expect("a kernel that tells");
        println!("{name}: {count}");
        assert!(count < 400_000, "{name}: {count}");
    }
}
