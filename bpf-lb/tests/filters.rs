//! Before TC had links (Linux 6.6): filters, beside those of others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aya::Ebpf;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{SchedClassifier, TcAttachType};
use landfall_bpf_lb::desired::Desired;
use landfall_bpf_lb::{AttachError, AttachMode, Director, Sampler, Settings, XdpPath};
use support::{Node, index, ip, on, problem, run_command};

const DIRECTIONS: [(TcAttachType, &str, &str); 2] = [
    (TcAttachType::Egress, "egress", "landfall_egress"),
    (TcAttachType::Ingress, "ingress", "landfall_tc"),
];

fn without_links(node: &Node, attach: AttachMode) -> Settings {
    Settings {
        attach,
        tc_links: false,
        ..node.settings.clone()
    }
}

fn filters(direction: &str) -> String {
    run_command("tc", &["filter", "show", "dev", "seg0", direction])
}

/// Somebody else's programs.
struct Stranger(Ebpf);

impl Stranger {
    fn new(node: &Node) -> Self {
        let mut loader = aya::EbpfLoader::new();
        loader.default_map_pin_directory(node.settings.pin_dir.join("maps"));
        let mut stranger = Self(loader.load(landfall_bpf_lb::object::BENCH).unwrap());
        stranger.program().load().unwrap();
        stranger
    }

    fn program(&mut self) -> &mut SchedClassifier {
        let program = self.0.program_mut("bench_accept").unwrap();
        program.try_into().unwrap()
    }

    /// A filter of theirs. Dropping the link takes it off.
    fn filter(&mut self, direction: TcAttachType, priority: u16) -> SchedClassifierLink {
        let _ = tc::qdisc_add_clsact("seg0");
        let options = NlOptions {
            priority,
            handle: TcHandle::new(0, 1),
            classid: None,
        };
        let options = TcAttachOptions::Netlink(options);
        let program = self.program();
        let id = program
            .attach_with_options("seg0", direction, options)
            .unwrap();
        program.take_link(id).unwrap()
    }
}

/// Whether what is said of a filter in the way names all that is to be known.
#[track_caller]
fn names_all(refused: &AttachError, direction: &str, theirs: &str) {
    assert!(matches!(refused, AttachError::Taken { .. }), "{refused}");
    let said = refused.to_string();
    for part in ["seg0", direction, "pref 1", theirs, "remove it"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn somebody_elses_filter_where_ours_belongs_is_left_alone_and_named() {
    needs_root!("somebody_elses_filter_where_ours_belongs_is_left_alone_and_named");
    for (direction, word, ours) in DIRECTIONS {
        let node = Node::new();
        let mut director = Director::load(&without_links(&node, AttachMode::Tc)).unwrap();
        let mut stranger = Stranger::new(&node);
        let theirs = stranger.filter(direction, 1);
        let refused = problem(director.apply(&on(&[node.ifindex])).unwrap());
        names_all(&refused, word, "bench_accept");
        assert!(filters(word).contains("bench_accept"), "{}", filters(word));
        for (_, word, _) in DIRECTIONS {
            assert!(!filters(word).contains("landfall"), "{}", filters(word));
        }
        // Once it is gone there is room.
        drop(theirs);
        let applied = director.apply(&on(&[node.ifindex])).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert!(filters(word).contains(ours), "{}", filters(word));
    }
}

#[test]
fn a_filter_of_another_kind_where_ours_belongs_is_left_alone_and_named() {
    needs_root!("a_filter_of_another_kind_where_ours_belongs_is_left_alone_and_named");
    for (_, word, _) in DIRECTIONS {
        let node = Node::new();
        let mut director = Director::load(&without_links(&node, AttachMode::Tc)).unwrap();
        run_command("tc", &["qdisc", "add", "dev", "seg0", "clsact"]);
        let theirs = "protocol ip pref 1 u32 match u32 0 0 classid 1:1";
        let add = ["filter", "add", "dev", "seg0", word];
        let add: Vec<&str> = add.into_iter().chain(theirs.split(' ')).collect();
        run_command("tc", &add);
        let refused = problem(director.apply(&on(&[node.ifindex])).unwrap());
        names_all(&refused, word, "u32");
        assert!(filters(word).contains("u32"), "{}", filters(word));
    }
}

#[test]
fn filters_of_others_beside_ours_neither_keep_it_away_nor_go_with_it() {
    needs_root!("filters_of_others_beside_ours_neither_keep_it_away_nor_go_with_it");
    let node = Node::new();
    let settings = without_links(&node, AttachMode::Tc);
    let mut director = Director::load(&settings).unwrap();
    let mut stranger = Stranger::new(&node);
    let _theirs = DIRECTIONS.map(|(direction, ..)| stranger.filter(direction, 2));
    for _ in 0..2 {
        let applied = director.apply(&on(&[node.ifindex])).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        for (_, word, ours) in DIRECTIONS {
            assert!(filters(word).contains(ours), "{}", filters(word));
        }
        director.apply(&Desired::default()).unwrap();
        for (_, word, ours) in DIRECTIONS {
            assert!(!filters(word).contains(ours), "{}", filters(word));
            assert!(filters(word).contains("bench_accept"), "{}", filters(word));
        }
    }
}

#[test]
fn who_takes_the_place_of_our_filter_is_neither_replaced_nor_removed() {
    needs_root!("who_takes_the_place_of_our_filter_is_neither_replaced_nor_removed");
    let node = Node::new();
    let settings = without_links(&node, AttachMode::Tc);
    let mut director = Director::load(&settings).unwrap();
    let applied = director.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    run_command("tc", &["filter", "del", "dev", "seg0", "ingress"]);
    let mut stranger = Stranger::new(&node);
    let _theirs = stranger.filter(TcAttachType::Ingress, 1);
    let refused = problem(director.apply(&on(&[node.ifindex])).unwrap());
    names_all(&refused, "ingress", "bench_accept");
    let is_there = || filters("ingress").contains("bench_accept");
    assert!(is_there(), "{}", filters("ingress"));
    // Replies of what is open still have their VIP, and a restart finds the interface.
    let leaving = filters("egress");
    assert!(leaving.contains("landfall_egress"), "{leaving}");
    drop(director);
    // Who takes any place goes elsewhere, and says why.
    let mut auto = Director::load(&without_links(&node, AttachMode::Auto)).unwrap();
    assert_eq!(auto.interfaces().unwrap(), [node.ifindex].into());
    let applied = auto.apply(&on(&[node.ifindex])).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    let found = &applied.interfaces[&node.ifindex];
    assert_eq!(found.path, XdpPath::Generic);
    let why = found.why_generic.as_ref().unwrap();
    assert!(why.contains("bench_accept"), "{why}");
    Director::remove(&settings).unwrap();
    assert!(is_there(), "{}", filters("ingress"));
    let leaving = filters("egress");
    assert!(!leaving.contains("landfall_egress"), "{leaving}");
}

#[test]
fn filters_that_work_stay_when_an_update_fails() {
    needs_root!("filters_that_work_stay_when_an_update_fails");
    let node = Node::new();
    let mut director = Director::load(&without_links(&node, AttachMode::Tc)).unwrap();
    let on_it = on(&[node.ifindex]);
    let applied = director.apply(&on_it).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    // A pin that cannot be replaced.
    let pin = format!("links/xdp-tc-{}", node.ifindex);
    let pin = node.settings.pin_dir.join(pin);
    std::fs::remove_file(&pin).unwrap();
    std::fs::create_dir(&pin).unwrap();
    let error = problem(director.apply(&on_it).unwrap());
    assert!(error.to_string().contains("xdp-tc-"), "{error}");
    for (_, word, ours) in DIRECTIONS {
        assert!(filters(word).contains(ours), "{}", filters(word));
    }
    std::fs::remove_dir(&pin).unwrap();
    let applied = director.apply(&on_it).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    for (_, word, _) in DIRECTIONS {
        let shown = filters(word);
        assert_eq!(shown.matches("handle").count(), 1, "{shown}");
    }
}

/// The modes in which the program for received packets is at one place.
const PLACES: [(AttachMode, XdpPath); 3] = [
    (AttachMode::Native, XdpPath::Native),
    (AttachMode::Tc, XdpPath::Tc),
    (AttachMode::Generic, XdpPath::Generic),
];

/// Whether a program of ours sees what seg0 receives.
fn is_received() -> bool {
    let shown = run_command("ip", &["-details", "link", "show", "seg0"]);
    shown.contains("prog/xdp id") || filters("ingress").contains("landfall_tc")
}

#[test]
fn what_serves_is_not_taken_off_for_a_better_place_that_would_leave_a_gap() {
    needs_root!("what_serves_is_not_taken_off_for_a_better_place_that_would_leave_a_gap");
    let node = Node::new();
    // Its driver knows nothing of XDP, and at TC there is somebody else.
    let vxlan = "link add vxlan0 type vxlan id 5 dstport 4789";
    ip(&vxlan.split(' ').collect::<Vec<_>>());
    run_command("tc", &["qdisc", "add", "dev", "vxlan0", "clsact"]);
    let theirs = "filter add dev vxlan0 ingress protocol ip pref 1 u32 match u32 0 0 classid 1:1";
    run_command("tc", &theirs.split(' ').collect::<Vec<_>>());
    let link = format!("links/xdp-generic-{}", index("vxlan0"));
    let link = node.settings.pin_dir.join(link);
    let mut links = Vec::new();
    for _ in 0..2 {
        let mut director = Director::load(&without_links(&node, AttachMode::Auto)).unwrap();
        for _ in 0..2 {
            let applied = director.apply(&on(&[index("vxlan0")])).unwrap();
            assert!(applied.problems.is_empty(), "{:?}", applied.problems);
            let found = &applied.interfaces[&index("vxlan0")];
            assert_eq!(found.path, XdpPath::Generic);
            let why = found.why_generic.as_ref().unwrap();
            assert_eq!(why.matches("u32").count(), 1, "{why}");
            links.push(std::fs::metadata(&link).unwrap().ino());
        }
    }
    links.dedup();
    assert_eq!(links.len(), 1, "another link has come in its place");
}

#[test]
fn nothing_is_delivered_where_somebody_else_has_taken_the_place_of_the_filter_for_replies() {
    needs_root!(
        "nothing_is_delivered_where_somebody_else_has_taken_the_place_of_the_filter_for_replies"
    );
    for (mode, path) in PLACES {
        let node = Node::new();
        let mut director = Director::load(&without_links(&node, mode)).unwrap();
        let on_it = on(&[node.ifindex]);
        director.apply(&on_it).unwrap();
        assert!(is_received(), "{path}");
        run_command("tc", &["filter", "del", "dev", "seg0", "egress"]);
        let mut stranger = Stranger::new(&node);
        let theirs = stranger.filter(TcAttachType::Egress, 1);
        for _ in 0..2 {
            let refused = problem(director.apply(&on_it).unwrap());
            names_all(&refused, "egress", "bench_accept");
            assert!(!is_received(), "{path}");
        }
        drop(theirs);
        let applied = director.apply(&on_it).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert_eq!(applied.interfaces[&node.ifindex].path, path);
        assert!(is_received(), "{path}");
        let leaving = filters("egress");
        assert!(leaving.contains("landfall_egress"), "{leaving}");
    }
}

#[test]
fn the_filter_for_replies_stays_when_it_came_back_and_the_other_could_not_be_renewed() {
    needs_root!(
        "the_filter_for_replies_stays_when_it_came_back_and_the_other_could_not_be_renewed"
    );
    let node = Node::new();
    let mut director = Director::load(&without_links(&node, AttachMode::Tc)).unwrap();
    let on_it = on(&[node.ifindex]);
    director.apply(&on_it).unwrap();
    run_command("tc", &["filter", "del", "dev", "seg0", "egress"]);
    // A pin that cannot be replaced.
    let pin = format!("links/xdp-tc-{}", node.ifindex);
    let pin = node.settings.pin_dir.join(pin);
    std::fs::remove_file(&pin).unwrap();
    std::fs::create_dir(&pin).unwrap();
    problem(director.apply(&on_it).unwrap());
    for (_, word, ours) in DIRECTIONS {
        assert!(filters(word).contains(ours), "{}", filters(word));
    }
}

#[test]
fn the_filter_for_replies_goes_last() {
    needs_root!("the_filter_for_replies_goes_last");
    let node = Node::new();
    let mut director = Director::load(&without_links(&node, AttachMode::Generic)).unwrap();
    director.apply(&on(&[node.ifindex])).unwrap();
    // A pin that is none cannot be taken off, and what comes after it stays.
    let pin = format!("links/xdp-native-{}", node.ifindex);
    let pin = node.settings.pin_dir.join(pin);
    std::fs::create_dir(&pin).unwrap();
    problem(director.apply(&Desired::default()).unwrap());
    assert!(is_received());
    let leaving = filters("egress");
    assert!(leaving.contains("landfall_egress"), "{leaving}");
    std::fs::remove_dir(&pin).unwrap();
    let applied = director.apply(&Desired::default()).unwrap();
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    assert!(!is_received());
    let leaving = filters("egress");
    assert!(!leaving.contains("landfall_egress"), "{leaving}");
    assert!(director.interfaces().unwrap().is_empty());
}

#[test]
fn an_ingress_discipline_is_left_alone_and_named() {
    needs_root!("an_ingress_discipline_is_left_alone_and_named");
    for (mode, path) in PLACES {
        let node = Node::new();
        let mut director = Director::load(&without_links(&node, mode)).unwrap();
        let on_it = on(&[node.ifindex]);
        run_command("tc", &["qdisc", "add", "dev", "seg0", "ingress"]);
        let refused = problem(director.apply(&on_it).unwrap()).to_string();
        for part in ["seg0", "ingress", "clsact", "tc qdisc del dev seg0 ingress"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert!(!is_received());
        let shown = filters("ingress");
        assert!(!shown.contains("landfall"), "{shown}");
        run_command("tc", &["qdisc", "del", "dev", "seg0", "ingress"]);
        let applied = director.apply(&on_it).unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert_eq!(applied.interfaces[&node.ifindex].path, path);
    }
}

#[test]
fn the_pin_of_a_filter_is_there_all_the_time_while_it_is_renewed() {
    needs_root!("the_pin_of_a_filter_is_there_all_the_time_while_it_is_renewed");
    let node = Node::new();
    let mut director = Director::load(&without_links(&node, AttachMode::Tc)).unwrap();
    let on_it = on(&[node.ifindex]);
    director.apply(&on_it).unwrap();
    let pin = format!("links/xdp-tc-{}", node.ifindex);
    let pin = node.settings.pin_dir.join(pin);
    let is_over = AtomicBool::new(false);
    let missed = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut missed = 0;
            while !is_over.load(Ordering::Relaxed) {
                missed += usize::from(!pin.exists());
            }
            missed
        });
        for _ in 0..100 {
            director.apply(&on_it).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert_eq!(missed, 0);
    let pins = std::fs::read_dir(pin.parent().unwrap()).unwrap();
    assert_eq!(pins.count(), 1);
}

#[test]
fn filters_are_those_that_take_samples_while_somebody_looks() {
    needs_root!("filters_are_those_that_take_samples_while_somebody_looks");
    let node = Node::new();
    let settings = without_links(&node, AttachMode::Tc);
    let desired = on(&[node.ifindex]);
    let mut director = Director::load(&settings).unwrap();
    let attached = |director: &mut Director| {
        let problems = director.apply(&desired).unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
        ["ingress", "egress"].map(|side| {
            let shown = filters(side);
            let id = shown.split(" id ").nth(1).expect(&shown);
            id.split(' ').next().unwrap().to_owned()
        })
    };
    let plain = attached(&mut director);
    director
        .take_samples(Sampler::load(&settings).unwrap())
        .unwrap();
    let sampling = attached(&mut director);
    assert!(plain[0] != sampling[0] && plain[1] != sampling[1]);
    director.take_no_samples().unwrap();
    assert_eq!(attached(&mut director), plain);
}
