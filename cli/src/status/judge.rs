//! From what was read to what is well, wrong or worth knowing. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use landfall_crds::conditions::{ACCEPTED, ADDRESS_ASSIGNED, DIRECTOR_READY, find};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancing};

use super::workloads::{leader, workloads};
use super::{Addresses, Node, Policy, Status};
use crate::flags::{flags, value};
use crate::ips::{Ip, State, ips, is_balanced};
use crate::picture::{Hidden, Picture, sessions};
use crate::pools::{Pool, pools};
use crate::words::about;

/// How long a Service, an address or a policy may be new before its state counts.
const SETTLING: i64 = 10;

/// Judges the picture at this moment.
pub(crate) fn judge(picture: &Picture, now: Timestamp) -> Status {
    let mut findings = Findings::default();
    let workloads = workloads(picture, &mut findings);
    let leader = leader(picture, now, &mut findings);
    let addresses = ips(picture, None, now);
    let nodes = nodes(picture, &addresses, now, &mut findings);
    let pools = pools(picture.pools.all(), &[]);
    findings.pools(&pools);
    let policies = policies(picture, &mut findings);
    for ip in &addresses {
        findings.address(ip);
    }
    let waiting = findings.services(picture, now);
    findings.hidden(picture);
    let mut by_state = BTreeMap::new();
    for ip in &addresses {
        *by_state.entry(format!("{:?}", ip.state)).or_default() += 1;
    }
    let unseen = unseen(picture);
    let unread = pools.iter().any(|pool| pool.accepted.is_none())
        || policies.iter().any(|policy| policy.accepted.is_none());
    let settled = !unread && !findings.unsaid;
    if !settled {
        findings.notes.push(
            "of a new pool, policy or Service nothing is said yet: --wait waits for it".to_owned(),
        );
    }
    let Findings { wrong, notes, .. } = findings;
    Status {
        settled,
        well: wrong.is_empty() && unseen.is_empty(),
        workloads,
        leader,
        nodes,
        pools,
        policies,
        addresses: Addresses {
            total: addresses.len(),
            by_state,
            waiting,
        },
        wrong,
        unseen,
        notes,
    }
}

/// What must be seen before anybody can say that all is well.
fn unseen(picture: &Picture) -> Vec<String> {
    let all = [
        (
            "Deployments of landfall-system",
            picture.deployments.hidden(),
        ),
        (
            "DaemonSets of landfall-system",
            picture.daemon_sets.hidden(),
        ),
        ("Leases of landfall-system", picture.leases.hidden()),
        ("LoadBalancerIPs", picture.records.hidden()),
    ];
    let forbidden = all
        .into_iter()
        .filter(|(_, why)| *why == Some(Hidden::Forbidden));
    forbidden.map(|(kind, _)| kind.to_owned()).collect()
}

/// What is wrong, and what people should know.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) wrong: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Of a new Service nobody has said anything yet.
    unsaid: bool,
}

fn nodes(picture: &Picture, ips: &[Ip], now: Timestamp, findings: &mut Findings) -> Vec<Node> {
    let mut sessions = sessions(picture.leases.all());
    if picture.nodes.is_seen() {
        // A Lease may outlive its node by a moment.
        let exists = |name: &String| {
            let mut nodes = picture.nodes.all().iter();
            nodes.any(|node| node.metadata.name.as_ref() == Some(name))
        };
        sessions.retain(|name, session| exists(name) || session.lives(now.as_second()));
    }
    let mut found = Vec::new();
    for (name, session) in sessions {
        let lives = session.lives(now.as_second());
        let owns = ips.iter().filter(|ip| ip.node.as_ref() == Some(&name));
        let stands_by = ips.iter().filter(|ip| ip.standby.as_ref() == Some(&name));
        let published = session.published;
        let interfaces = published.interfaces.into_iter();
        let node = Node {
            announcing: lives && !published.leaving,
            interfaces: interfaces.map(|interface| interface.name).collect(),
            xdp: published.xdp,
            owns: owns.count(),
            stands_by: stands_by.count(),
            name,
        };
        if !lives {
            findings.wrong.push(format!(
                "node {}: its announcer has no session; its Pod's log says why",
                node.name
            ));
        } else if node.interfaces.is_empty() {
            findings.wrong.push(format!(
                "node {}: no interface is up that could announce",
                node.name
            ));
        }
        if node.xdp == "failed" {
            findings.wrong.push(format!(
                "node {}: its XDP director cannot run, traffic takes the kernel's path; its announcer's log says why",
                node.name
            ));
        }
        // Where another policy lets the kernel forward, a director that is off may be meant.
        if node.owns > 0 && node.xdp == "off" && all_xdp(picture) {
            findings.wrong.push(format!(
                "node {}: its XDP director does not run yet, traffic takes the kernel's path; its announcer's log says why \
                 if that lasts",
                node.name
            ));
        }
        found.push(node);
    }
    let able = found
        .iter()
        .filter(|node| node.announcing && !node.interfaces.is_empty());
    let able: Vec<&Node> = able.collect();
    let announced: usize = able.iter().map(|node| node.owns).sum();
    let idle: Vec<&str> = able
        .iter()
        .filter(|node| node.owns == 0)
        .map(|node| node.name.as_str())
        .collect();
    // Where a policy prefers nodes, others are idle because that is meant.
    let policies = picture.policies.all();
    let chosen = policies.iter().any(|policy| {
        policy.spec.node_selector.is_some() || !policy.spec.preferred_nodes.is_empty()
    });
    if !idle.is_empty() && announced >= able.len() && !chosen {
        let when = match rebalancing(picture) {
            Some(pause) => format!("each node gives one away every {pause} (--rebalance-every)"),
            None => "addresses stay where they are, and move when their node goes, is drained or restarted, or now and then \
                     where the announcers have --rebalance-every"
                .to_owned(),
        };
        findings.notes.push(format!(
            "{} answers for no address while others have several: {when}",
            idle.join(", ")
        ));
    }
    found
}

/// How often addresses are given to nodes that have fewer, where the announcers were told to.
fn rebalancing(picture: &Picture) -> Option<String> {
    let announcer = picture.announcer()?;
    let pod = announcer.spec.as_ref()?.template.spec.as_ref()?;
    let container = pod.containers.first()?;
    let args = container.args.as_deref().unwrap_or_default();
    let flag = value(&flags(args), "--rebalance-every").map(str::to_owned);
    flag.or_else(|| {
        let mut env = container.env.iter().flatten();
        env.find(|one| one.name == "LANDFALL_REBALANCE_EVERY")?
            .value
            .clone()
    })
}

fn all_xdp(picture: &Picture) -> bool {
    let policies = picture.policies.all();
    let mut forwarding = policies.iter().map(|policy| policy.spec.load_balancing);
    !policies.is_empty() && forwarding.all(|by| by == LoadBalancing::Xdp)
}

fn policies(picture: &Picture, findings: &mut Findings) -> Vec<Policy> {
    let all = picture.policies.all().iter();
    let policies: Vec<Policy> = all.map(|object| policy(object, findings)).collect();
    if policies.is_empty() && picture.policies.is_seen() {
        findings.notes.push(
            "no policy: no address is announced before there is one; apply an L2AnnouncementPolicy"
                .to_owned(),
        );
    }
    policies
}

fn policy(object: &L2AnnouncementPolicy, findings: &mut Findings) -> Policy {
    let name = object.metadata.name.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let current = status.observed_generation == object.metadata.generation;
    let accepted = find(&status.conditions, ACCEPTED).filter(|_| current);
    let director = find(&status.conditions, DIRECTOR_READY);
    let bad = |condition: &&Condition| condition.status != "True";
    for condition in accepted.filter(bad).into_iter().chain(director.filter(bad)) {
        findings
            .wrong
            .push(format!("policy {name}: {}", condition.message));
    }
    if accepted.is_some() && status.nodes == 0 {
        let spec = &object.spec;
        let mut means = Vec::new();
        if !spec.interfaces.is_empty() {
            means.push(format!("its interfaces {:?}", spec.interfaces));
        }
        if spec.node_selector.is_some() {
            means.push("its nodeSelector".to_owned());
        }
        let means = match means.is_empty() {
            true => "no announcer runs on a node with an interface that is up".to_owned(),
            false => format!(
                "look at {}; the table of nodes says which interfaces there are",
                means.join(" and ")
            ),
        };
        findings.wrong.push(format!(
            "policy {name}: no node can announce under it; {means}"
        ));
    }
    Policy {
        accepted: accepted.map(|condition| condition.status == "True"),
        forwarding: match object.spec.load_balancing {
            LoadBalancing::Kernel => "Kernel".to_owned(),
            LoadBalancing::Xdp => "XDP".to_owned(),
        },
        addresses: status.addresses,
        nodes: status.nodes,
        name,
    }
}

impl Findings {
    fn pools(&mut self, pools: &[Pool]) {
        for pool in pools {
            let problems = pool.problems.iter();
            self.wrong
                .extend(problems.map(|word| format!("pool {}: {word}", pool.name)));
            let notes = pool.notes.iter();
            self.notes
                .extend(notes.map(|word| format!("pool {}: {word}", pool.name)));
        }
    }

    fn address(&mut self, ip: &Ip) {
        let why = ip
            .why
            .clone()
            .unwrap_or_else(|| "nobody says why".to_owned());
        match ip.state {
            State::Silent => self.wrong.push(format!(
                "address {} of {} is not announced: {why}",
                ip.address,
                ip.holders.join(", ")
            )),
            State::Conflict => self.wrong.push(about(&ip.address, &why)),
            _ if ip.why.is_some() => self.notes.push(about(&ip.address, &why)),
            _ => {}
        }
    }

    /// Says who has not what it wants; returns how many.
    fn services(&mut self, picture: &Picture, now: Timestamp) -> usize {
        let mut waiting = 0;
        let services = picture.services.all().iter();
        for service in services.filter(|service| is_balanced(service)) {
            let Some(what) = unserved(service) else {
                continue;
            };
            waiting += 1;
            let created = service.metadata.creation_timestamp.as_ref();
            let is_new = created.is_some_and(|at| now.as_second() - at.0.as_second() < SETTLING);
            let name = format!(
                "{}/{}",
                service.metadata.namespace.as_deref().unwrap_or_default(),
                service.metadata.name.as_deref().unwrap_or_default()
            );
            match what {
                Unserved::Refused(why) => self.wrong.push(format!("Service {name}: {why}")),
                Unserved::Unsaid { .. } if is_new => self.unsaid = true,
                Unserved::Unsaid { ours: true } => self.wrong.push(format!(
                    "Service {name}: the controller has not said anything of it yet"
                )),
                Unserved::Unsaid { ours: false } => {}
            }
        }
        waiting
    }

    fn hidden(&mut self, picture: &Picture) {
        let ours = [
            ("LoadBalancerIPPool", picture.pools.hidden()),
            ("LoadBalancerIP", picture.records.hidden()),
            ("L2AnnouncementPolicy", picture.policies.hidden()),
        ];
        let absent = ours
            .into_iter()
            .filter(|(_, why)| *why == Some(Hidden::Absent));
        let absent: Vec<&str> = absent.map(|(kind, _)| kind).collect();
        if !absent.is_empty() {
            self.wrong.push(format!(
                "the cluster does not know {}: `landfall install` brings the definitions",
                absent.join(", ")
            ));
        }
        let forbidden = picture.forbidden();
        if !forbidden.is_empty() {
            self.notes.push(format!(
                "you may not list {}: what they would say is missing here (ClusterRoles view and landfall-view permit it)",
                forbidden.join(", ")
            ));
        }
        if let Some(namespace) = &picture.services_of {
            self.notes.push(format!(
                "only Services of namespace {namespace} are looked at: you may not list others"
            ));
        }
    }
}

/// How a Service has not what it wants.
enum Unserved {
    /// The controller says why.
    Refused(String),
    /// Nobody has said anything; another balancer may serve those without a class.
    Unsaid { ours: bool },
}

fn unserved(service: &Service) -> Option<Unserved> {
    let conditions = service
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    match conditions.and_then(|all| find(all, ADDRESS_ASSIGNED)) {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(Unserved::Refused(format!(
            "{}: {}",
            condition.reason, condition.message
        ))),
        None => {
            let has = service.status.as_ref().and_then(|status| {
                let balancer = status.load_balancer.as_ref()?;
                balancer.ingress.as_ref()?.first()
            });
            let ours = service.spec.as_ref()?.load_balancer_class.is_some();
            (has.is_none() || ours).then_some(Unserved::Unsaid { ours })
        }
    }
}
