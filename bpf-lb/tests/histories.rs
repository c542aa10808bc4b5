//! Random histories of a small cluster, through the real programs of every node: pods come and go,
//! tables are of different age, letters are lost, announcers die and start anew. No segment of a living
//! connection ever reaches another pod than its own, and none is lost for good, whoever is dead.
//!
//! One history of each kind by default; `LANDFALL_HISTORIES=20` plays as many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use landfall_bpf_lb::Verdict;
use landfall_bpf_lb::desired::{BackendState, Protocol};
use support::Node;
use support::cluster::{Cluster, Fate, Pod, VIP};
use support::frames::{FIN, Flow, RST, SEGMENT, SYN, SYN_ACK, Tcp};

/// A client repeats itself several times in so long, also on a machine that has much else to do.
const REPEATED: Duration = Duration::from_secs(30);

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// The cluster, and what its clients have open.
struct History {
    cluster: Cluster,
    dice: Dice,
    /// By client port: the pod that has the connection.
    open: BTreeMap<u16, SocketAddr>,
    /// The number that the client acknowledges.
    numbers: BTreeMap<u16, u32>,
    /// Ports whose last connection began on a kernel's path: that one goes on there, or knows that it is over.
    kernels: BTreeSet<u16>,
    ports: u16,
    pods: u8,
    dead: Option<usize>,
}

impl History {
    fn new(node: &Node, nodes: usize, seed: u64) -> Self {
        Self {
            cluster: Cluster::new(node, nodes),
            dice: Dice(seed),
            open: BTreeMap::new(),
            numbers: BTreeMap::new(),
            kernels: BTreeSet::new(),
            ports: 20_000,
            pods: 0,
            dead: None,
        }
    }

    fn nodes(&self) -> usize {
        self.cluster.machines.len()
    }

    /// A new version of the cluster.
    fn change(&mut self, change: impl FnOnce(&mut Vec<Pod>)) {
        let mut pods = self.cluster.pods().to_vec();
        change(&mut pods);
        self.cluster.versions.push(pods);
    }

    /// A pod of the next generation comes up on this node.
    fn add_pod(&mut self, node: usize) {
        self.pods += 1;
        let address = Ipv4Addr::new(10, 244, u8::try_from(node).unwrap(), self.pods);
        let pod = Pod {
            at: SocketAddr::new(address.into(), 8080),
            node,
            state: BackendState::Active,
        };
        self.change(|pods| pods.push(pod));
    }

    /// Some nodes hear of what is, some of what was lately.
    fn some_learn(&mut self) {
        let last = self.cluster.versions.len() - 1;
        for number in 0..self.nodes() {
            let knows = self.cluster.machines[number].knows;
            if self.dice.one_in(3) {
                continue;
            }
            let version = knows + self.dice.below(last - knows + 1);
            self.cluster.learn(number, version);
        }
    }

    fn all_learn(&mut self) {
        let last = self.cluster.versions.len() - 1;
        for number in 0..self.nodes() {
            self.cluster.learn(number, last);
        }
    }

    /// A node that may own the address: its announcer lives.
    fn owner(&mut self) -> usize {
        loop {
            let number = self.dice.below(self.nodes());
            if self.dead != Some(number) {
                return number;
            }
        }
    }

    fn flow(port: u16) -> Flow {
        Flow {
            client: SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), port),
            to: VIP,
            protocol: Protocol::Tcp,
        }
    }

    /// A client connects, to whoever owns the address now, from a port that may have been used before. What
    /// does not come about at once is given up.
    fn connect(&mut self) {
        let used: Vec<u16> = (20_001..=self.ports)
            .filter(|port| !self.open.contains_key(port) && !self.kernels.contains(port))
            .collect();
        let port = if used.is_empty() || self.dice.one_in(3) {
            self.ports += 1;
            self.ports
        } else {
            used[self.dice.below(used.len())]
        };
        let flow = Self::flow(port);
        let owner = self.owner();
        let Fate::Reached(node, pod) = self.cluster.arrives(owner, flow, SYN) else {
            self.kernels.insert(port);
            return;
        };
        let number = u32::try_from(self.dice.below(1 << 32)).unwrap();
        let accepts = Tcp {
            sequence: number.wrapping_sub(1),
            ..SYN_ACK
        };
        self.cluster.answers(node, pod, flow, accepts);
        self.numbers.insert(port, number);
        let segment = self.client_says(port, SEGMENT);
        match self.cluster.arrives(owner, flow, segment) {
            Fate::Reached(_, reached) => {
                let trail = &self.cluster.trail;
                assert_eq!(
                    reached, pod,
                    "the ACK of {port} parted from its SYN: {trail:?}"
                );
                self.open.insert(port, pod);
            }
            Fate::Dropped(..) => {}
            passed @ Fate::Passed(..) => panic!("the ACK of {port}: {passed:?}"),
        }
    }

    fn client_says(&self, port: u16, tcp: Tcp) -> Tcp {
        Tcp {
            ack: tcp.ack.map(|_| self.numbers[&port]),
            ..tcp
        }
    }

    /// A client tears a connection down, or it and its pod finish it in order.
    fn end(&mut self) {
        let open: Vec<u16> = self.open.keys().copied().collect();
        let port = open[self.dice.below(open.len())];
        let (owner, flow) = (self.owner(), Self::flow(port));
        let pod = self.open[&port];
        let by = if self.dice.one_in(2) { RST } else { FIN };
        // What is not heard is said again, and ends another time.
        let Fate::Reached(node, reached) =
            self.cluster
                .arrives(owner, flow, self.client_says(port, by))
        else {
            return;
        };
        assert_eq!(reached, pod, "the end of {port}: {:?}", self.cluster.trail);
        if by.fin {
            let finishes = Tcp {
                sequence: self.numbers[&port],
                ..FIN
            };
            self.cluster.answers(node, pod, flow, finishes);
        }
        self.open.remove(&port);
    }

    /// Every client says something, once; the trails of those that were not heard.
    fn say(&mut self) -> BTreeMap<u16, Vec<(usize, Verdict)>> {
        let open: Vec<(u16, SocketAddr)> = self.open.iter().map(|(p, at)| (*p, *at)).collect();
        let mut unheard = BTreeMap::new();
        for (port, pod) in open {
            let owner = self.owner();
            let segment = self.client_says(port, SEGMENT);
            let fate = self.cluster.arrives(owner, Self::flow(port), segment);
            match fate {
                Fate::Reached(_, reached) => assert_eq!(
                    reached,
                    pod,
                    "{port} moved, by {owner}; {:?}; {:?}",
                    self.cluster.trail,
                    self.cluster.describe()
                ),
                Fate::Dropped(..) => drop(unheard.insert(port, self.cluster.trail.clone())),
                Fate::Passed(..) => panic!(
                    "{port} by {owner} is left to a kernel: {fate:?}; {:?}",
                    self.cluster.describe()
                ),
            }
        }
        unheard
    }

    /// All pods are replaced, a few at a time, as a Deployment does it. The old ones serve on.
    fn roll(&mut self) {
        let old: Vec<SocketAddr> = self
            .cluster
            .pods()
            .iter()
            .filter(|pod| pod.state == BackendState::Active)
            .map(|pod| pod.at)
            .collect();
        for old in old {
            let node = self.dice.below(self.nodes());
            self.add_pod(node);
            self.step();
            self.change(|pods| {
                for pod in pods.iter_mut().filter(|pod| pod.at == old) {
                    pod.state = BackendState::Draining;
                }
            });
            self.step();
        }
    }

    fn step(&mut self) {
        self.some_learn();
        self.connect();
        self.end();
        let lost = self.dice.below(3) * 3;
        let dice = &mut self.dice;
        self.cluster.talk(|| dice.below(10) < lost);
        for _ in 0..3 {
            self.connect();
        }
        self.end();
        self.say();
    }

    /// Whoever lives has heard of everything: every connection is served, also those of the node whose
    /// announcer is dead. Where two nodes may have what nobody knows, the one whose announcer has just come
    /// back too, they are asked in turn as the client repeats itself.
    #[track_caller]
    fn all_are_heard(&mut self) {
        self.all_learn();
        for _ in 0..3 {
            self.cluster.talk(|| false);
        }
        let begun = Instant::now();
        let mut unheard = self.say();
        while !unheard.is_empty() && begun.elapsed() < REPEATED {
            unheard = self.say();
        }
        let first = unheard.keys().next().copied();
        let views = first.map(|port| self.cluster.views(Self::flow(port)));
        assert!(
            unheard.is_empty(),
            "of {}: {unheard:?}; pods {:?}; dead: {:?}; of the first {views:#?}",
            self.open.len(),
            unheard
                .keys()
                .map(|port| self.open[port])
                .collect::<Vec<_>>(),
            self.dead
        );
    }
}

/// `LANDFALL_HISTORIES` of each kind; one, if it is not set.
fn histories() -> u64 {
    let wanted = std::env::var("LANDFALL_HISTORIES").ok();
    wanted.map_or(1, |wanted| wanted.parse().expect("a number of histories"))
}

fn lives_through_everything(nodes: usize, seed: u64) {
    let node = Node::new();
    let mut history = History::new(&node, nodes, seed);
    for number in 0..nodes * 2 {
        history.add_pod(number % nodes);
    }
    history.all_learn();
    for _ in 0..60 {
        history.connect();
    }
    assert_eq!(history.open.len(), 60);
    for _ in 0..2 {
        history.roll();
        history.all_are_heard();
        let dead = history.dice.below(nodes);
        history.cluster.kill(dead);
        history.dead = Some(dead);
        history.roll();
        history.all_are_heard();
        history.cluster.revive(dead);
        history.dead = None;
        history.roll();
        history.all_are_heard();
    }
}

#[test]
fn connections_of_three_nodes_live_through_rolling_updates_while_an_announcer_is_dead() {
    needs_root!(
        "connections_of_three_nodes_live_through_rolling_updates_while_an_announcer_is_dead"
    );
    for seed in 0..histories() {
        lives_through_everything(3, seed);
    }
}

#[test]
fn connections_of_six_nodes_live_through_rolling_updates_while_an_announcer_is_dead() {
    needs_root!("connections_of_six_nodes_live_through_rolling_updates_while_an_announcer_is_dead");
    for seed in 0..histories() {
        lives_through_everything(6, seed);
    }
}
