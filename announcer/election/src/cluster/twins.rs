//! Two machines of one name.

use std::time::Duration;

use super::node::{Input, Node, Wants};
use super::single::{at_rest, millis, secs};
use super::storm::cases;
use super::world::{SEGMENT, World};
use crate::SessionId;
use crate::peers::{Beat, Body, Flags, Frame, Kind};

impl World {
    /// One more machine, on the side of the router.
    fn add(&mut self, node: Node) -> usize {
        let n = self.nodes.len();
        self.nodes.push(node);
        self.side.push(0);
        self.seen.push(0);
        self.due.push(Duration::MAX);
        self.watching.push(false);
        self.restart(n);
        n
    }

    /// A beat of this session reaches the node by whose name it was said: recorded, or sent back by a bridge.
    fn say_again(&mut self, n: usize, session: &SessionId, sequence: u64) {
        let beat = Beat {
            sequence,
            interval: millis(50),
            window: millis(150),
            kind: Kind::Watch,
            flags: Flags::default(),
            heard: Vec::new(),
            ended: Vec::new(),
        };
        let frame = Frame {
            node: self.nodes[n].name.clone(),
            session: session.clone(),
            body: Body::Beat(beat),
        };
        let (now, mut wants) = (self.now, Wants::default());
        self.nodes[n].take(Input::Frame(SEGMENT, frame), now, &mut wants);
        self.carry_out(n, wants);
    }

    /// The process of the only node dies and is started again, while frames of that one's session with these sequences
    /// are said again, one every 50 ms.
    fn restart_and_hear(&mut self, sequences: impl IntoIterator<Item = u64>) {
        let session = self.nodes[0].session.clone().unwrap();
        self.restart(0);
        for sequence in sequences {
            self.run(millis(50));
            self.say_again(0, &session, sequence);
        }
    }
}

/// Starts another machine of the name of node 1; its number.
fn start_twin(world: &mut World) -> usize {
    let first = &world.nodes[1];
    let mut twin = Node::new(first.name.clone(), first.rate, &[SEGMENT]);
    twin.candidates.clone_from(&first.candidates);
    twin.stood_still = first.stood_still;
    // So that its sessions are its own.
    twin.lives = 100;
    let n = world.add(twin);
    world.twins.insert(world.nodes[1].name.clone(), n);
    n
}

#[test]
fn a_machine_whose_name_another_has_answers_for_nothing_until_that_one_is_gone() {
    for (seed, nodes) in cases(60, &[2, 3, 5]) {
        let mut world = at_rest(seed, nodes, 20);
        let before = (world.transitions(), world.fences);
        let twin = start_twin(&mut world);
        world.run(secs(60));
        let case = format!("{nodes} nodes, seed {seed}");
        assert!(world.nodes[twin].answering.is_empty(), "{case}");
        assert_eq!((world.transitions(), world.fences), before, "{case}");
        assert_eq!(world.check.most_twice, Duration::ZERO, "{case}");
        assert_eq!(world.check.most_dark, Duration::ZERO, "{case}");
        world.nodes[1].dead = true;
        world.run(secs(30));
        assert!(world.check.most_dark <= millis(450), "{case}");
        assert!(
            world.nodes[twin].session.is_some(),
            "{case}: it is the only one now"
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn of_two_machines_of_one_name_that_do_not_hear_each_other_one_begins_no_session_again() {
    for (seed, nodes) in cases(40, &[3, 12]) {
        let mut world = at_rest(seed, nodes, 20);
        let twin = nodes;
        world.cut.extend([(1, twin), (twin, 1)]);
        start_twin(&mut world);
        world.run(secs(5));
        let sessions = [world.nodes[1].lives, world.nodes[twin].lives];
        world.run(secs(60));
        assert_eq!(
            sessions,
            [world.nodes[1].lives, world.nodes[twin].lives],
            "{nodes} nodes, seed {seed}"
        );
        world.assert_all_answered_once();
    }
}

#[test]
fn what_was_recorded_of_the_process_before_keeps_nobody_from_starting() {
    for (seed, rising) in cases(40, &[true, false]) {
        let mut world = at_rest(seed, 1, 20);
        match rising {
            true => world.restart_and_hear(1..=20),
            false => world.restart_and_hear((1..=20).rev()),
        }
        world.run(millis(1_000));
        world.assert_all_answered_once();
    }
}

#[test]
fn on_a_machine_that_does_not_know_the_session_before_copies_of_one_frame_keep_nobody_from_starting()
 {
    for (seed, times) in cases(40, &[1, 20]) {
        let mut world = at_rest(seed, 1, 20);
        world.nodes[0].forget_sessions();
        world.restart_and_hear(std::iter::repeat_n(160, times));
        world.run(millis(4_500 - 50 * u64::try_from(times).unwrap()));
        world.assert_all_answered_once();
    }
}
