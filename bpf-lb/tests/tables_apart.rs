//! Nodes whose tables are of different age, one case at a time: which of them has heard of the last change, and whose
//! announcer has died before it. Random ones are in `histories.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use landfall_bpf_lb::desired::{BackendState, Protocol};
use support::Node;
use support::cluster::{Cluster, Fate, Pod, VIP};
use support::frames::{Flow, SEGMENT, SYN, SYN_ACK};

use BackendState::{Active, Draining};

/// A client repeats itself several times in so long, also on a machine that has much else to do.
const REPEATED: Duration = Duration::from_secs(30);

fn flow(port: u16) -> Flow {
    Flow {
        client: SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), port),
        to: VIP,
        protocol: Protocol::Tcp,
    }
}

fn pod(number: u8, node: usize, state: BackendState) -> Pod {
    let address = Ipv4Addr::new(10, 244, u8::try_from(node).unwrap(), number);
    Pod {
        at: SocketAddr::new(address.into(), 8080),
        node,
        state,
    }
}

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Pod(SocketAddr),
    /// The kernel of this node, which got its SYN.
    Kernel(usize),
}

/// Where a segment has arrived, if it has.
fn home(fate: Fate) -> Option<Home> {
    match fate {
        Fate::Reached(_, pod) => Some(Home::Pod(pod)),
        Fate::Passed(node, _) => Some(Home::Kernel(node)),
        Fate::Dropped(..) => None,
    }
}

/// The nodes, and who has each connection, by its client's port.
struct Segment {
    cluster: Cluster,
    open: BTreeMap<u16, Home>,
}

impl Segment {
    fn new(node: &Node, nodes: usize) -> Self {
        Self {
            cluster: Cluster::new(node, nodes),
            open: BTreeMap::new(),
        }
    }

    /// The cluster is so from now on, and these nodes hear of it.
    fn change(&mut self, pods: &[Pod], who_hears: &[usize]) {
        self.cluster.versions.push(pods.to_vec());
        let last = self.cluster.versions.len() - 1;
        for number in who_hears {
            self.cluster.learn(*number, last);
        }
    }

    /// Clients open connections, each of whose packets comes by another node: the SYN by the first of these, and so on in
    /// turn. What the nodes disagree about may begin on a kernel's path, and stays there.
    fn open(&mut self, ports: std::ops::Range<u16>, by: &[usize]) {
        let mut by = by.iter().copied().cycle();
        for port in ports {
            let at = by.next().unwrap();
            let opened = self.cluster.arrives(at, flow(port), SYN);
            if let Fate::Reached(node, pod) = opened {
                self.cluster.answers(node, pod, flow(port), SYN_ACK);
            }
            let Some(opened) = home(opened) else {
                panic!("{port} by {at}: {opened:?}, {:?}", self.cluster.trail);
            };
            self.open.insert(port, opened);
            // A node that does not know yet who has it asks for a moment, and it is said again where it began.
            if self.says(port, by.next().unwrap()).is_none() {
                self.is_heard(port, at);
            }
        }
    }

    /// Who hears a client's segment that comes by this node, which nobody else must.
    #[track_caller]
    fn says(&mut self, port: u16, at: usize) -> Option<Home> {
        self.cluster.feed();
        let heard = home(self.cluster.arrives(at, flow(port), SEGMENT));
        let trail = &self.cluster.trail;
        assert!(
            heard.is_none_or(|heard| heard == self.open[&port]),
            "{port} by {at}: {heard:?} and not {:?}, {trail:?}",
            self.open[&port]
        );
        heard
    }

    #[track_caller]
    fn is_heard(&mut self, port: u16, at: usize) {
        let begun = Instant::now();
        while self.says(port, at).is_none() {
            let trail = &self.cluster.trail;
            assert!(
                begun.elapsed() < REPEATED,
                "{port} by {at} is lost: {trail:?}"
            );
        }
    }

    /// Every client says something by each of these nodes, until it is heard.
    #[track_caller]
    fn all_are_heard(&mut self, by: &[usize]) {
        for port in self.open.keys().copied().collect::<Vec<_>>() {
            for at in by {
                self.is_heard(port, *at);
            }
        }
    }

    /// The same by a node that may not know yet who has what others opened: it repeats itself once more.
    #[track_caller]
    fn none_is_misled(&mut self, by: usize) {
        for port in self.open.keys().copied().collect::<Vec<_>>() {
            self.says(port, by);
            self.says(port, by);
        }
    }

    fn pods(&self) -> usize {
        let homes = self.open.values();
        homes.filter(|home| matches!(home, Home::Pod(_))).count()
    }
}

/// Between these versions, with this node the last to hear of the second, whichever node the packets come by.
#[track_caller]
fn none_is_lost(before: &[Pod], after: &[Pod], old: usize) -> Segment {
    let news: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let node = Node::new();
    let mut segment = Segment::new(&node, 3);
    segment.change(before, &[0, 1, 2]);
    segment.open(20_000..20_060, &[0, 1, 2]);
    assert_eq!(segment.pods(), 60);
    segment.change(after, &news);
    segment.all_are_heard(&news);
    segment.none_is_misled(old);
    // The whole by new nodes, the whole by the old one, the SYN by it, the rest by it.
    let ways: [&[usize]; 4] = [&news, &[old], &[old, news[0]], &[news[1], old]];
    for (way, first) in ways.into_iter().zip([21_000, 22_000, 23_000, 24_000]) {
        segment.open(first..first + 60, way);
        segment.all_are_heard(&news);
        segment.none_is_misled(old);
    }
    segment.cluster.talk(|| false);
    segment.all_are_heard(&news);
    segment.cluster.learn(old, 2);
    segment.cluster.talk(|| false);
    segment.open(30_000..30_060, &[0, 1, 2]);
    segment.all_are_heard(&[0, 1, 2]);
    segment
}

#[test]
fn where_a_pod_comes_and_tables_are_new_old_and_new_no_connection_is_split_or_lost() {
    needs_root!("where_a_pod_comes_and_tables_are_new_old_and_new_no_connection_is_split_or_lost");
    let before = [pod(1, 0, Active), pod(2, 1, Active), pod(3, 2, Active)];
    // A node is often the last to hear of its own pod; and it may be another's.
    for (old, home) in [(1, 1), (1, 2), (0, 1)] {
        let came = pod(4, home, Active);
        let segment = none_is_lost(&before, &[&before[..], &[came]].concat(), old);
        assert!(
            segment
                .open
                .values()
                .any(|home| *home == Home::Pod(came.at))
        );
    }
}

#[test]
fn where_a_pod_goes_and_tables_are_new_old_and_new_its_connections_stay_with_it() {
    needs_root!("where_a_pod_goes_and_tables_are_new_old_and_new_its_connections_stay_with_it");
    let before = [pod(1, 0, Active), pod(2, 1, Active), pod(3, 2, Active)];
    let after = [before[0], pod(2, 1, Draining), before[2]];
    for old in 0..3 {
        none_is_lost(&before, &after, old);
    }
}

#[test]
fn while_the_announcer_of_the_losing_node_is_dead_two_changes_cost_no_connection() {
    needs_root!("while_the_announcer_of_the_losing_node_is_dead_two_changes_cost_no_connection");
    let node = Node::new();
    let mut segment = Segment::new(&node, 4);
    let mut pods = vec![pod(1, 0, Active)];
    segment.change(&pods, &[0, 1, 2, 3]);
    segment.open(20_000..20_100, &[0, 1, 2, 3]);
    segment.cluster.kill(0);
    for number in [1, 2] {
        for pod in &mut pods {
            pod.state = Draining;
        }
        pods.push(pod(1, number, Active));
        segment.change(&pods, &[1, 2, 3]);
        segment.cluster.talk(|| false);
        segment.all_are_heard(&[1, 2, 3]);
        let first = 21_000 + 1_000 * u16::try_from(number).unwrap();
        segment.open(first..first + 20, &[1, 2, 3]);
    }
    // And the third, which its slots do not remember, once it can tell of what it has.
    segment.cluster.revive(0);
    segment.cluster.talk(|| false);
    segment.all_are_heard(&[0, 1, 2, 3]);
    pods[2].state = Draining;
    pods.push(pod(1, 3, Active));
    segment.change(&pods, &[0, 1, 2, 3]);
    segment.cluster.talk(|| false);
    segment.all_are_heard(&[0, 1, 2, 3]);
}
