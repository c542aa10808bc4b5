//! The Node object and its Lease, as values. Pure, but for reading the machine's own size.

use std::{collections::BTreeMap, fs, net::IpAddr, thread};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time},
    },
    jiff::Timestamp,
};

const PODS: u32 = 110;
const LEASE_SECONDS: i32 = 40;

/// What is told of the node's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) memory_kib: u64,
    pub(crate) kernel: String,
    pub(crate) arch: &'static str,
}

impl Machine {
    /// Reads it. All nodes of a lab are the same machine, and each says all of it.
    pub(crate) fn read() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpus: thread::available_parallelism().map_or(1, usize::from),
            memory_kib: total.unwrap_or(1 << 20),
            kernel: kernel.trim().to_owned(),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }
}

/// Labels every node has, and those asked for.
pub(crate) fn labels(
    name: &str,
    machine: &Machine,
    more: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", machine.arch),
    ];
    let own = own
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.chain(more.clone()).collect()
}

/// The object to create.
pub(crate) fn object(name: &str, labels: BTreeMap<String, String>) -> Node {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    Node {
        metadata,
        ..Node::default()
    }
}

/// The status to report; ready once there are ranges to give Pods addresses from.
pub(crate) fn status(
    name: &str,
    addresses: &[IpAddr],
    machine: &Machine,
    networked: bool,
    old: &[NodeCondition],
    now: Timestamp,
) -> NodeStatus {
    let quantity = |text: String| Quantity(text);
    let capacity = BTreeMap::from([
        ("cpu".to_owned(), quantity(machine.cpus.to_string())),
        (
            "memory".to_owned(),
            quantity(format!("{}Ki", machine.memory_kib)),
        ),
        ("pods".to_owned(), quantity(PODS.to_string())),
    ]);
    let internal = addresses
        .iter()
        .map(|address| ("InternalIP", address.to_string()));
    let addresses = internal.chain([("Hostname", name.to_owned())]);
    NodeStatus {
        addresses: Some(
            addresses
                .map(|(type_, address)| NodeAddress {
                    type_: type_.to_owned(),
                    address,
                })
                .collect(),
        ),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(conditions(networked, old, now)),
        node_info: Some(NodeSystemInfo {
            architecture: machine.arch.to_owned(),
            container_runtime_version: "runc://1".to_owned(),
            kernel_version: machine.kernel.clone(),
            kubelet_version: format!("v{}-lab", env!("CARGO_PKG_VERSION")),
            operating_system: "linux".to_owned(),
            os_image: "Landfall lab".to_owned(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions(networked: bool, old: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let fine = |kind, reason, message| (kind, "False", reason, message);
    let ready = if networked {
        (
            "Ready",
            "True",
            "KubeletReady",
            "the lab's kubelet runs Pods",
        )
    } else {
        ("Ready", "False", "KubeletNotReady", "no podCIDR yet")
    };
    let all = [
        fine(
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "the lab does not measure memory",
        ),
        fine(
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "the lab does not measure disks",
        ),
        fine(
            "PIDPressure",
            "KubeletHasSufficientPID",
            "the lab does not count processes",
        ),
        ready,
    ];
    let others = old
        .iter()
        .filter(|c| all.iter().all(|own| own.0 != c.type_));
    let own = all.iter().copied();
    own.map(|(kind, status, reason, message)| {
        let same = old.iter().find(|c| c.type_ == kind && c.status == status);
        let since = same.and_then(|c| c.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    })
    .chain(others.cloned())
    .collect()
}

/// Whether the API shows the node as it reports itself; the node lifecycle controller changes that when it misses
/// renewals.
pub(crate) fn shown_as_reported(node: &Node, networked: bool) -> bool {
    let wanted = if networked { "True" } else { "False" };
    let status = node.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == wanted)
        && status.is_some_and(|s| s.addresses.is_some())
}

/// The node's Lease as of now.
pub(crate) fn lease(name: &str, node_uid: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.to_owned(),
                uid: node_uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            cpus: 2,
            memory_kib: 1024,
            kernel: "6.18".into(),
            arch: "amd64",
        }
    }

    fn of(networked: bool, old: &[NodeCondition], now: i64) -> NodeStatus {
        let now = Timestamp::from_second(now).unwrap();
        status(
            "worker-1",
            &["192.0.2.11".parse().unwrap()],
            &machine(),
            networked,
            old,
            now,
        )
    }

    #[test]
    fn a_node_without_ranges_is_not_ready() {
        let node = Node {
            status: Some(of(false, &[], 0)),
            ..Node::default()
        };
        assert!(shown_as_reported(&node, false));
        assert!(!shown_as_reported(&node, true));
    }

    #[test]
    fn the_moment_it_became_ready_is_kept() {
        let first = of(true, &[], 10).conditions.unwrap();
        let second = of(true, &first, 20).conditions.unwrap();
        assert_eq!(
            first[3].last_transition_time,
            second[3].last_transition_time
        );
        assert_ne!(first[3].last_heartbeat_time, second[3].last_heartbeat_time);
    }

    #[test]
    fn asked_for_labels_join_the_usual_ones() {
        let more = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let labels = labels("worker-1", &machine(), &more);
        assert_eq!(labels["kubernetes.io/hostname"], "worker-1");
        assert_eq!(labels["zone"], "a");
    }
}
