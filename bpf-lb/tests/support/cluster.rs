//! Several nodes in one process: the real programs and tables of each, frames carried from one to the
//! next as a switch does, and the words that they tell each other of connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Placement, PodId, Protocol, Vip,
};
use landfall_bpf_lb::duties::{Kept, Owed};
use landfall_bpf_lb::{Director, Settings, Verdict};

use super::frames::{CLIENT_MAC, Flow, Shape, Tcp, see, shaped};
use super::run::{DROP, PASS, TX, receive, send};
use super::{Node, index, ip, on};

/// Where the clients connect.
pub(crate) const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100)), 80);

/// A pod, as the cluster sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) at: SocketAddr,
    pub(crate) node: usize,
    pub(crate) state: BackendState,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// This node gave it to this pod.
    Reached(usize, SocketAddr),
    /// This node left it to its kernel.
    Passed(usize, Verdict),
    /// This node dropped it.
    Dropped(usize, Verdict),
}

/// One node.
pub(crate) struct Machine {
    settings: Settings,
    ifindex: u32,
    mac: [u8; 6],
    address: IpAddr,
    pub(crate) director: Director,
    owed: Owed,
    kept: Kept,
    boot: u64,
    /// Whether its announcer runs. Its programs do in any case.
    pub(crate) lives: bool,
    /// The version of the cluster that its tables show.
    pub(crate) knows: usize,
}

/// The nodes, and every version of their pods.
pub(crate) struct Cluster {
    pub(crate) machines: Vec<Machine>,
    pub(crate) versions: Vec<Vec<Pod>>,
    /// By which nodes the last segment came, and what each did with it.
    pub(crate) trail: Vec<(usize, Verdict)>,
    now: Duration,
}

fn mac(number: usize) -> [u8; 6] {
    [0x02, 0x4c, 0x46, 0, 1, u8::try_from(number).unwrap()]
}

fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 1 + u8::try_from(number).unwrap()).into()
}

impl Cluster {
    /// Nodes without pods. The thread must be in namespaces of its own.
    pub(crate) fn new(node: &Node, count: usize) -> Self {
        let machine = |number: usize| {
            let (name, mac) = (format!("node{number}"), mac(number));
            let text = mac.map(|byte| format!("{byte:02x}")).join(":");
            let peer = format!("{name}p");
            ip(&[
                "link", "add", &name, "address", &text, "type", "veth", "peer", "name", &peer,
            ]);
            for end in [&name, &peer] {
                ip(&["link", "set", end, "addrgenmode", "none"]);
                ip(&["link", "set", end, "up"]);
            }
            let settings = Settings {
                pin_dir: node.settings.pin_dir.join(&name),
                ..node.settings.clone()
            };
            Machine {
                director: Director::load(&settings).expect("the director loads"),
                settings,
                ifindex: index(&name),
                mac,
                address: address(number),
                owed: Owed::new(1),
                kept: Kept::default(),
                boot: 1,
                lives: true,
                knows: 0,
            }
        };
        std::fs::create_dir_all(&node.settings.pin_dir).unwrap();
        let mut cluster = Self {
            machines: (0..count).map(machine).collect(),
            versions: vec![Vec::new()],
            trail: Vec::new(),
            now: Duration::from_secs(1),
        };
        for number in 0..count {
            cluster.learn(number, 0);
        }
        cluster
    }

    pub(crate) fn pods(&self) -> &[Pod] {
        self.versions.last().unwrap()
    }

    /// The announcer of a node hears of this version, unless it is dead.
    pub(crate) fn learn(&mut self, number: usize, version: usize) {
        let desired = self.desired(number, version);
        let machine = &mut self.machines[number];
        if machine.lives {
            let applied = machine.director.apply(&desired).unwrap();
            assert!(applied.refused.is_empty() && applied.problems.is_empty());
            machine.knows = version;
        }
    }

    fn desired(&self, number: usize, version: usize) -> Desired {
        let machine = &self.machines[number];
        let mut desired = on(&[machine.ifindex]);
        for interface in desired.interfaces.values_mut() {
            interface.mac = machine.mac;
        }
        let backends = self.versions[version].iter().map(|pod| {
            let endpoint = Endpoint {
                address: pod.at.ip(),
                port: pod.at.port(),
            };
            let placement = if pod.node == number {
                Placement::Local
            } else {
                Placement::Remote(address(pod.node))
            };
            let backend = Backend {
                pod: PodId::default(),
                placement,
                weight: 1,
                state: pod.state,
            };
            (endpoint, backend)
        });
        let vip = Vip {
            backends: backends.collect(),
            ..Vip::default()
        };
        desired.frontends.insert(frontend(), vip.into());
        for other in (0..self.machines.len()).filter(|other| *other != number) {
            let hop = Hop {
                mac: mac(other),
                ifindex: machine.ifindex,
            };
            desired.hops.insert(address(other), Some(hop));
            if !self.machines[other].lives {
                desired.away.insert(address(other));
            }
        }
        desired
    }

    /// The announcer of a node dies; its programs go on.
    pub(crate) fn kill(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.lives = false;
        // Longer ago than its programs believe their tables.
        super::maps::change_state(&machine.settings, |state| {
            state.fed = state.fed.wrapping_sub(10_000);
        });
    }

    /// Every living announcer says that its tables are those of now, as it does several times a second.
    pub(crate) fn feed(&mut self) {
        for machine in self.machines.iter_mut().filter(|machine| machine.lives) {
            machine.director.feed().unwrap();
        }
    }

    /// It starts anew, and hears of the cluster as it is.
    pub(crate) fn revive(&mut self, number: usize) {
        let now = self.now;
        let machine = &mut self.machines[number];
        machine.director = Director::load(&machine.settings).expect("the director loads");
        machine.boot += 1;
        machine.owed = Owed::new(machine.boot);
        machine.kept = Kept::default();
        let restored = machine.director.kept().unwrap();
        machine.kept.restore(&restored, now);
        machine.lives = true;
        self.learn(number, self.versions.len() - 1);
    }

    /// A second in which every living announcer tells what it owes, and hears what others do. A letter
    /// is lost if `is_lost` says so.
    pub(crate) fn talk(&mut self, mut is_lost: impl FnMut() -> bool) {
        for _ in 0..3 {
            for from in 0..self.machines.len() {
                let teller = &mut self.machines[from];
                if !teller.lives {
                    continue;
                }
                let owed = teller.director.owed().unwrap();
                teller.owed.set(&owed);
                for (to, message) in teller.owed.due(self.now) {
                    let to = (0..self.machines.len())
                        .find(|number| address(*number) == to)
                        .unwrap();
                    if is_lost() {
                        continue;
                    }
                    let Some(answer) = self.hear(from, to, &message) else {
                        continue;
                    };
                    if !is_lost() {
                        self.machines[from].owed.answered(address(to), &answer);
                    }
                }
            }
            self.now += Duration::from_millis(300);
        }
    }

    fn hear(
        &mut self,
        from: usize,
        to: usize,
        message: &landfall_bpf_lb::duties::message::Message,
    ) -> Option<landfall_bpf_lb::duties::message::Message> {
        let now = self.now;
        let listener = &mut self.machines[to];
        if !listener.lives {
            return None;
        }
        let has_a_pod = self.versions[listener.knows]
            .iter()
            .any(|pod| pod.node == from);
        let answer = listener
            .kept
            .receive(address(from), message, now, |_| has_a_pod);
        listener.kept.expire(now);
        listener.director.keep(&listener.kept.entries()).unwrap();
        answer
    }

    /// What becomes of a client's segment that arrives at this node.
    pub(crate) fn arrives(&mut self, at: usize, flow: Flow, tcp: Tcp) -> Fate {
        let mut at = at;
        let shape = Shape {
            source: CLIENT_MAC,
            destination: mac(at),
            ..tcp.into()
        };
        let mut frame = shaped(flow, &shape);
        self.trail.clear();
        for _ in 0..8 {
            let machine = &mut self.machines[at];
            let ran = receive(&mut machine.director, machine.ifindex, &frame);
            let verdict = ran.verdict();
            self.trail.push((at, verdict));
            match ran.action {
                PASS => {
                    let delivered = [
                        Verdict::Delivered,
                        Verdict::DeliveredPrevious,
                        Verdict::Adopted,
                    ];
                    return if delivered.contains(&verdict) {
                        Fate::Reached(at, see(&ran.frame).to)
                    } else {
                        Fate::Passed(at, verdict)
                    };
                }
                DROP => return Fate::Dropped(at, verdict),
                TX => {
                    let to = see(&ran.frame).destination_mac;
                    at = (0..self.machines.len())
                        .find(|number| mac(*number) == to)
                        .expect("a node's MAC address");
                    frame = ran.frame;
                }
                other => panic!("action {other}"),
            }
        }
        panic!("a packet goes round and round");
    }

    /// The pod answers, as its node sees it.
    pub(crate) fn answers(&mut self, at: usize, pod: SocketAddr, flow: Flow, tcp: Tcp) -> Verdict {
        let reply = Flow {
            client: pod,
            to: flow.client,
            protocol: flow.protocol,
        };
        let ran = send(&mut self.machines[at].director, &shaped(reply, &tcp.into()));
        ran.verdict()
    }

    /// What each node knows of a connection, for a failure's message.
    pub(crate) fn views(&mut self, flow: Flow) -> Vec<String> {
        let named = landfall_bpf_lb::duties::Flow {
            client: flow.client,
            frontend: frontend(),
        };
        let view = |(number, machine): (usize, &mut Machine)| {
            let entry = super::maps::connection(&machine.settings, flow);
            let owed = machine.director.owed().unwrap().get(&named).copied();
            let kept = machine.kept.entries().get(&named).copied();
            format!("{number}: has {entry:?}, owes {owed:?}, keeps {kept:?}")
        };
        self.machines.iter_mut().enumerate().map(view).collect()
    }

    /// How many backends each version had, and what each node knows, for a failure's message.
    pub(crate) fn describe(&self) -> BTreeMap<usize, (bool, usize)> {
        let machines = self.machines.iter().enumerate();
        machines
            .map(|(number, machine)| (number, (machine.lives, machine.knows)))
            .collect()
    }
}

fn frontend() -> Frontend {
    Frontend {
        address: VIP.ip(),
        port: VIP.port(),
        protocol: Protocol::Tcp,
    }
}
