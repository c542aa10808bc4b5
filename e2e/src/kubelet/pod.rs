//! Reading a Pod: the facts the rest asks for, with the API's defaults filled in. Pure.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::plan::{Goal, Init, Restart, Wanted};

/// Grace where the Pod names none.
const DEFAULT_GRACE: u64 = 30;

/// Namespace, name and uid of a Pod: who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodId {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl PodId {
    /// Reads it off the object.
    pub(crate) fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// Eight hex digits that stand for the Pod in names of limited length.
    pub(crate) fn short(&self) -> String {
        self.uid
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(8)
            .collect()
    }
}

impl std::fmt::Display for PodId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The spec, which every bound Pod has.
pub(crate) fn spec(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}

/// Init and main containers.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
}

pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub(crate) fn host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

/// The host name a container sees.
pub(crate) fn hostname(pod: &Pod, node: &str) -> String {
    let spec = spec(pod);
    if host_network(&spec) {
        return node.to_owned();
    }
    let name = spec
        .hostname
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

fn seconds(value: Option<i64>, default: u64) -> Duration {
    Duration::from_secs(value.map_or(default, |s| u64::try_from(s).unwrap_or(0)))
}

/// What the plan shall reach.
pub(crate) fn goal(pod: &Pod) -> Goal {
    let spec = spec(pod);
    let grace = seconds(spec.termination_grace_period_seconds, DEFAULT_GRACE);
    let wanted = if pod.metadata.deletion_timestamp.is_some() {
        let grace = pod.metadata.deletion_grace_period_seconds;
        Wanted::Stop {
            grace: seconds(grace, DEFAULT_GRACE),
            forget: true,
        }
    } else {
        Wanted::Run
    };
    let restart = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let init = spec.init_containers.iter().flatten();
    Goal {
        wanted,
        restart,
        init: init
            .map(|c| Init {
                name: c.name.clone(),
                sidecar: is_sidecar(c),
            })
            .collect(),
        main: spec.containers.iter().map(|c| c.name.clone()).collect(),
        grace,
    }
}

/// Addresses of a Pod and its node, for the downward API, hosts and status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) pod: Vec<IpAddr>,
    pub(crate) host: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn a_deleted_pod_is_to_stop_within_its_deletion_grace() {
        let pod = pod("metadata: {name: p, deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 3}
spec: {containers: [{name: a}]}");
        let wanted = Wanted::Stop {
            grace: Duration::from_secs(3),
            forget: true,
        };
        assert_eq!(goal(&pod).wanted, wanted);
    }

    #[test]
    fn a_host_network_pod_has_the_nodes_name() {
        let on = pod("metadata: {name: p}\nspec: {hostNetwork: true, containers: []}");
        let off = pod("metadata: {name: p}\nspec: {containers: []}");
        assert_eq!(hostname(&on, "worker-1"), "worker-1");
        assert_eq!(hostname(&off, "worker-1"), "p");
    }

    #[test]
    fn a_short_name_is_eight_hex_digits() {
        let pod = pod("metadata: {uid: 0a1b2c3d-aaaa-bbbb-cccc-000000000000}");
        assert_eq!(PodId::of(&pod).short(), "0a1b2c3d");
    }
}
