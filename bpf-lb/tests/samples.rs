//! Looking at packets: what is seen of each, how much of a flood, and nothing when nobody looks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::time::Instant;

use aya::maps::{Array, Map, MapData};
use aya::programs::{Program, TestRun as _, TestRunOptions};
use landfall_bpf_lb::desired::{BackendState, Protocol};
use landfall_bpf_lb::samples::{Sampled, Samples, SamplesError, monotonic};
use landfall_bpf_lb::{Director, Sampler, Verdict};
use landfall_bpf_lb_common::names;
use landfall_bpf_lb_common::records::SamplingEntry;
use landfall_bpf_lb_common::sample::{CAPTURED, RATE};
use support::frames::{SEGMENT, SYN, SYN_ACK, Shape, frame, shaped};
use support::run::{PASS, Ran, context, receive, send};
use support::scene::{each, families};
use support::talk::says;
use support::{Node, at_tc};

/// Looks at all packets of this node, for as long as the test takes.
fn look(node: &Node, director: &mut Director) -> Samples {
    let mut samples = Samples::open(&node.settings.pin_dir).unwrap();
    assert!(!director.is_watched());
    assert!(!samples.want(Verdict::ALL).unwrap(), "taken without asking");
    until(node, u64::MAX);
    assert!(director.is_watched());
    director
        .take_samples(Sampler::load(&node.settings).unwrap())
        .unwrap();
    assert!(samples.want(Verdict::ALL).unwrap());
    until(node, u64::MAX);
    samples
}

/// Samples are wanted until then.
fn until(node: &Node, nanoseconds: u64) {
    let mut map = word(node);
    let until = nanoseconds;
    let entry = map.get(&0, 0).unwrap();
    map.set(0, SamplingEntry { until, ..entry }, 0).unwrap();
}

/// The one sample there is.
fn only(samples: &mut Samples) -> Sampled {
    let [sample] = <[Sampled; 1]>::try_from(samples.take()).unwrap();
    sample
}

/// Asserts that this is what was seen of a packet.
fn assert_seen(sample: &Sampled, ran: &Ran, ifindex: Option<u32>) {
    assert_eq!(sample.verdict, ran.verdict());
    let most = ran.frame.len().min(CAPTURED);
    assert_eq!(sample.bytes, ran.frame[..most], "{:?}", sample.verdict);
    assert_eq!(sample.length as usize, ran.frame.len());
    if let Some(ifindex) = ifindex {
        assert_eq!((sample.ifindex, sample.out), (ifindex, None));
    }
    assert_eq!(sample.tag, None);
    assert!(sample.time <= monotonic());
}

fn is_pinned(node: &Node, name: &str) -> bool {
    node.settings.pin_dir.join("maps").join(name).exists()
}

fn word(node: &Node) -> Array<MapData, SamplingEntry> {
    let pin = node.settings.pin_dir.join("maps").join(names::SAMPLING);
    let data = MapData::from_pin(pin).unwrap();
    Map::Array(data).try_into().unwrap()
}

#[test]
fn where_nobody_looks_no_program_asks_whether_somebody_does() {
    needs_root!("where_nobody_looks_no_program_asks_whether_somebody_does");
    let node = Node::new();
    let mut director = node.director();
    let pin = node.settings.pin_dir.join("maps").join(names::SAMPLING);
    let asked = MapData::from_pin(pin).unwrap().info().unwrap().id();
    for name in [names::XDP, names::EGRESS] {
        let program = director.programs().program(name).unwrap();
        let info = match program {
            Program::Xdp(program) => program.info(),
            Program::SchedClassifier(program) => program.info(),
            other => panic!("{name} is of type {:?}", other.prog_type()),
        };
        let maps = info.unwrap().map_ids().unwrap().unwrap();
        assert!(!maps.is_empty() && !maps.contains(&asked), "{name}");
    }
    assert!(!director.is_watched() && !director.takes_samples());
    assert!(!is_pinned(&node, names::SAMPLES));
}

#[test]
fn what_is_directed_is_seen_as_it_is_sent_on() {
    needs_root!("what_is_directed_is_seen_as_it_is_sent_on");
    let node = Node::new();
    let mut look_once = None;
    each(&node, Some(0), |director, family, protocol| {
        let samples = look_once.get_or_insert_with(|| look(&node, director));
        let ran = receive(director, node.ifindex, &frame(family.flow(protocol)));
        assert_eq!(ran.verdict(), Verdict::Directed);
        assert_seen(&only(samples), &ran, Some(node.ifindex));
    });
}

#[test]
fn what_is_delivered_is_seen_as_its_pod_gets_it_and_the_reply_as_the_client_does() {
    needs_root!("what_is_delivered_is_seen_as_its_pod_gets_it_and_the_reply_as_the_client_does");
    let node = Node::new();
    let mut look_once = None;
    each(&node, None, |director, family, protocol| {
        let samples = look_once.get_or_insert_with(|| look(&node, director));
        let ran = says(director, node.ifindex, family.flow(protocol), SYN);
        assert_eq!(ran.verdict(), Verdict::Delivered);
        assert_seen(&only(samples), &ran, Some(node.ifindex));
        let reply = shaped(family.reply(protocol), &SYN_ACK.into());
        let ran = send(director, &reply);
        assert_eq!(ran.verdict(), Verdict::ReplyRewritten);
        assert_seen(&only(samples), &ran, None);
    });
}

#[test]
fn what_is_dropped_or_passed_is_seen_as_it_came() {
    needs_root!("what_is_dropped_or_passed_is_seen_as_it_came");
    let node = Node::new();
    let mut look_once = None;
    each(&node, None, |director, family, protocol| {
        let samples = look_once.get_or_insert_with(|| look(&node, director));
        let mut sent = family.flow(protocol);
        if protocol == Protocol::Tcp {
            // Nobody knows it, and nobody takes it in at once.
            let sent = shaped(sent, &SEGMENT.into());
            let ran = receive(director, node.ifindex, &sent);
            assert_eq!(ran.verdict(), Verdict::DropUnsettled);
            let sample = only(samples);
            assert_seen(&sample, &Ran { frame: sent, ..ran }, Some(node.ifindex));
        }
        sent.to.set_port(81);
        let sent = frame(sent);
        let ran = receive(director, node.ifindex, &sent);
        assert_eq!((ran.action, ran.verdict()), (PASS, Verdict::NotFrontend));
        let sample = only(samples);
        assert_seen(&sample, &Ran { frame: sent, ..ran }, Some(node.ifindex));
    });
}

#[test]
fn of_a_long_packet_the_beginning_is_seen_and_of_a_short_one_every_byte() {
    needs_root!("of_a_long_packet_the_beginning_is_seen_and_of_a_short_one_every_byte");
    let node = Node::new();
    let mut director = node.director();
    let mut samples = look(&node, &mut director);
    for family in families() {
        for payload in (0..100).chain([500, 1_400]) {
            let shape = Shape {
                payload: vec![7; payload],
                ..Shape::default()
            };
            let sent = shaped(family.flow(Protocol::Udp), &shape);
            let ran = receive(&mut director, node.ifindex, &sent);
            assert_seen(&only(&mut samples), &ran, Some(node.ifindex));
        }
    }
}

#[test]
fn of_another_verdict_than_was_asked_for_nothing_is_seen() {
    needs_root!("of_another_verdict_than_was_asked_for_nothing_is_seen");
    let node = Node::new();
    let mut look_once = None;
    each(&node, Some(0), |director, family, protocol| {
        let samples = look_once.get_or_insert_with(|| look(&node, director));
        samples.want(&[Verdict::Delivered]).unwrap();
        until(&node, u64::MAX);
        receive(director, node.ifindex, &frame(family.flow(protocol)));
        assert_eq!(samples.take(), []);
        assert_eq!(samples.missed().unwrap(), 0);
    });
}

#[test]
fn of_a_flood_as_much_is_seen_as_may_be_and_the_rest_is_counted() {
    needs_root!("of_a_flood_as_much_is_seen_as_may_be_and_the_rest_is_counted");
    const PACKETS: u32 = 200_000;
    let node = Node::new();
    let mut director = node.director();
    let mut samples = look(&node, &mut director);
    let sent = frame(families()[0].flow(Protocol::Udp));
    let context = context(sent.len(), node.ifindex);
    let begun = Instant::now();
    let options = TestRunOptions {
        data_in: Some(&sent),
        repeat: PACKETS,
        ..TestRunOptions::new()
    };
    match director
        .programs()
        .program(if at_tc() { names::TC } else { names::XDP })
    {
        Some(Program::Xdp(program)) => program.test_run(TestRunOptions {
            ctx_in: Some(&context),
            ..options
        }),
        Some(Program::SchedClassifier(program)) => program.test_run(options),
        _ => panic!("no program"),
    }
    .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let taken = samples.take().len() as u64;
    assert_eq!(taken + samples.missed().unwrap(), u64::from(PACKETS));
    let most = (1.0 + seconds) * RATE as f64;
    assert!(taken >= RATE && taken as f64 <= most + 1.0, "{taken}");
}

#[test]
fn who_looks_is_alone_and_leaves_nothing() {
    needs_root!("who_looks_is_alone_and_leaves_nothing");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let backends = [(0, Some(0), BackendState::Active)];
    let desired = family.desired(Protocol::Udp, node.ifindex, &backends);
    director.apply(&desired).unwrap();
    let mut samples = look(&node, &mut director);
    let second = Samples::open(&node.settings.pin_dir);
    assert!(matches!(second, Err(SamplesError::Taken)));
    samples.take();
    drop(samples);
    assert_eq!(word(&node).get(&0, 0).unwrap().until, 0);
    assert!(!director.is_watched());
    director.take_no_samples().unwrap();
    assert!(!is_pinned(&node, names::SAMPLES) && !is_pinned(&node, names::MISSED));
    let ran = receive(
        &mut director,
        node.ifindex,
        &frame(family.flow(Protocol::Udp)),
    );
    assert_eq!(ran.verdict(), Verdict::Directed);
}

#[test]
fn who_is_killed_sees_nothing_more_and_leaves_nothing() {
    needs_root!("who_is_killed_sees_nothing_more_and_leaves_nothing");
    let node = Node::new();
    let mut director = node.director();
    let [family, _] = families();
    let backends = [(0, Some(0), BackendState::Active)];
    let desired = family.desired(Protocol::Udp, node.ifindex, &backends);
    director.apply(&desired).unwrap();
    let mut samples = look(&node, &mut director);
    // The last word of one that renews it no more, three seconds on.
    until(&node, u64::try_from(monotonic().as_nanos()).unwrap());
    receive(
        &mut director,
        node.ifindex,
        &frame(family.flow(Protocol::Udp)),
    );
    assert_eq!(samples.take(), []);
    assert!(!director.is_watched() && director.takes_samples());
    director.take_no_samples().unwrap();
    assert_eq!(word(&node).get(&0, 0).unwrap().until, 0);
    assert!(!is_pinned(&node, names::SAMPLES));
}

#[test]
fn the_programs_on_an_interface_are_those_that_take_samples_while_somebody_looks() {
    needs_root!("the_programs_on_an_interface_are_those_that_take_samples_while_somebody_looks");
    let node = Node::new();
    let [family, _] = families();
    let desired = family.desired(
        Protocol::Udp,
        node.ifindex,
        &[(0, Some(0), BackendState::Active)],
    );
    let mut director = node.director();
    director.apply(&desired).unwrap();
    let attached = |director: &mut Director| {
        let problems = director.apply(&desired).unwrap().problems;
        // It would name programs that are not those that it has.
        assert!(problems.is_empty(), "{problems:?}");
        let shown = support::run_command("ip", &["-details", "link", "show", "seg0"]);
        let shown = if at_tc() {
            String::new()
        } else {
            let id = shown.split("prog/xdp id ").nth(1).unwrap();
            id.split(' ').next().unwrap().to_owned()
        };
        let id = match director.programs().program(names::XDP) {
            Some(Program::Xdp(program)) => program.info().unwrap().id(),
            _ => panic!("no program"),
        };
        assert!(at_tc() || shown == id.to_string(), "{shown} {id}");
        id
    };
    let plain = attached(&mut director);
    let samples = look(&node, &mut director);
    assert_ne!(attached(&mut director), plain);
    drop(samples);
    director.take_no_samples().unwrap();
    assert_eq!(attached(&mut director), plain);
}

#[test]
fn who_looks_goes_on_looking_when_the_director_comes_again() {
    needs_root!("who_looks_goes_on_looking_when_the_director_comes_again");
    let node = Node::new();
    let [family, _] = families();
    let backends = [(0, Some(0), BackendState::Active)];
    let desired = family.desired(Protocol::Udp, node.ifindex, &backends);
    let mut samples = look(&node, &mut node.director());
    let mut director = Director::load(&node.settings).unwrap();
    director.apply(&desired).unwrap();
    assert!(director.is_watched() && !director.takes_samples());
    assert!(!samples.want(Verdict::ALL).unwrap(), "nobody fills it");
    let sampler = Sampler::load(&node.settings).unwrap();
    director.take_samples(sampler).unwrap();
    assert!(samples.want(Verdict::ALL).unwrap());
    let ran = receive(
        &mut director,
        node.ifindex,
        &frame(family.flow(Protocol::Udp)),
    );
    assert_eq!(ran.verdict(), Verdict::Directed);
    assert_seen(&only(&mut samples), &ran, Some(node.ifindex));
}

#[test]
fn programs_made_for_maps_that_have_gone_are_not_put_in() {
    needs_root!("programs_made_for_maps_that_have_gone_are_not_put_in");
    let node = Node::new();
    drop(node.director());
    let sampler = Sampler::load(&node.settings).unwrap();
    Director::remove(&node.settings).unwrap();
    let mut director = node.director();
    director.take_samples(sampler).unwrap();
    assert!(!director.takes_samples());
}
