//! The Pod's status from what the agent sees. Pure.
//!
//! Invariant: `lastTransitionTime` is kept while a condition's status is equal, and conditions of others are left as
//! they are.

use k8s_openapi::{
    api::core::v1::{
        Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{
    plan::{Ending, Goal, ending},
    pod::{self, Addresses},
    runtime,
    state::{Container, Exit, Life, PodState, Sandbox},
};

const OWN: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
];

/// Everything the status is made from.
pub(crate) struct Seen<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) goal: &'a Goal,
    pub(crate) state: &'a PodState,
    pub(crate) addresses: &'a Addresses,
    pub(crate) started: Timestamp,
    pub(crate) wall: Timestamp,
    /// What was written last.
    pub(crate) reported: Option<&'a PodStatus>,
}

/// Builds the status.
pub(crate) fn build(seen: &Seen<'_>) -> PodStatus {
    let spec = pod::spec(seen.pod);
    let init_done = initialized(seen);
    let statuses = |specs: &[Spec], blocked: bool| -> Vec<ContainerStatus> {
        specs
            .iter()
            .map(|spec| container_status(seen, spec, blocked))
            .collect()
    };
    let init = statuses(spec.init_containers.as_deref().unwrap_or_default(), false);
    let main = statuses(&spec.containers, !init_done);
    let ending = ending(seen.goal, seen.state);
    let gone = seen.state.sandbox == Sandbox::Gone;
    let ip = |list: &[std::net::IpAddr]| list.first().map(ToString::to_string);
    PodStatus {
        phase: Some(phase(seen, ending).to_owned()),
        conditions: Some(conditions(seen, init_done, &main, ending)),
        host_ip: ip(&seen.addresses.host),
        host_ips: Some(
            seen.addresses
                .host
                .iter()
                .map(|ip| HostIP { ip: ip.to_string() })
                .collect(),
        ),
        pod_ip: if gone { None } else { ip(&seen.addresses.pod) },
        pod_ips: (!gone).then(|| {
            seen.addresses
                .pod
                .iter()
                .map(|ip| PodIP { ip: ip.to_string() })
                .collect()
        }),
        start_time: Some(Time(seen.started)),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        ..PodStatus::default()
    }
}

fn initialized(seen: &Seen<'_>) -> bool {
    seen.goal.init.iter().all(|init| {
        let container = seen.state.container(&init.name);
        match &container.life {
            Life::Exited { exit, .. } => exit.code == 0 || init.sidecar,
            Life::Running { started, .. } => init.sidecar && *started,
            Life::Created | Life::Held { .. } => false,
        }
    })
}

fn phase(seen: &Seen<'_>, ending: Option<Ending>) -> &'static str {
    match ending {
        Some(Ending::Succeeded) => return "Succeeded",
        Some(Ending::Failed) => return "Failed",
        None => {}
    }
    let begun = |name: &String| {
        let container = seen.state.container(name);
        container.tried || container.running()
    };
    if seen.goal.main.iter().all(begun) {
        "Running"
    } else {
        "Pending"
    }
}

fn container_status(seen: &Seen<'_>, spec: &Spec, blocked: bool) -> ContainerStatus {
    let container = seen.state.container(&spec.name);
    let uid = seen.pod.metadata.uid.clone().unwrap_or_default();
    let (started, ready) = match &container.life {
        Life::Running { started, ready, .. } => (*started, *ready),
        Life::Exited { exit, .. } => {
            let init = seen
                .goal
                .init
                .iter()
                .any(|init| init.name == spec.name && !init.sidecar);
            (false, init && exit.code == 0)
        }
        Life::Created | Life::Held { .. } => (false, false),
    };
    let id = runtime::id(&uid, &spec.name, container.attempt);
    ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        image_id: String::new(),
        container_id: container.tried.then(|| format!("runc://{id}")),
        ready,
        started: Some(started),
        restart_count: i32::try_from(container.attempt).unwrap_or(i32::MAX),
        state: Some(state(seen, &spec.name, &container, blocked, &id)),
        last_state: last_state(seen, spec, &container),
        ..ContainerStatus::default()
    }
}

fn state(
    seen: &Seen<'_>,
    name: &str,
    container: &Container,
    blocked: bool,
    id: &str,
) -> ContainerState {
    match &container.life {
        Life::Running { since, .. } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            }),
            ..ContainerState::default()
        },
        Life::Exited { exit, .. } if comes_back(seen, name, exit) => waiting(
            "CrashLoopBackOff",
            Some("waits before it is started again".to_owned()),
        ),
        Life::Exited { exit, .. } => terminated(exit, id),
        Life::Held {
            reason, message, ..
        } => waiting(reason, Some(message.clone())),
        Life::Created => match &seen.state.sandbox {
            Sandbox::Held {
                reason, message, ..
            } => waiting(reason, Some(message.clone())),
            _ if blocked => waiting("PodInitializing", None),
            _ => waiting("ContainerCreating", None),
        },
    }
}

/// Whether the plan will start this container again.
fn comes_back(seen: &Seen<'_>, name: &str, exit: &Exit) -> bool {
    use super::plan::{Restart, Wanted};
    if seen.goal.wanted != Wanted::Run || ending(seen.goal, seen.state).is_some() {
        return false;
    }
    let init = seen.goal.init.iter().find(|init| init.name == name);
    match (init, seen.goal.restart) {
        (Some(init), _) if init.sidecar => true,
        (None, Restart::Always) => true,
        (_, Restart::Never) => false,
        (_, Restart::Always | Restart::OnFailure) => exit.code != 0,
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn terminated(exit: &Exit, id: &str) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("runc://{id}")),
        exit_code: exit.code,
        finished_at: Some(Time(exit.finished_at)),
        message: exit.message.clone(),
        reason: Some(exit.reason.clone()),
        signal: None,
        started_at: exit.started_at.map(Time),
    };
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

/// The attempt before the one that runs; while a container waits for its restart, the one that just ended.
fn last_state(seen: &Seen<'_>, spec: &Spec, container: &Container) -> Option<ContainerState> {
    let uid = seen.pod.metadata.uid.as_deref().unwrap_or_default();
    let (exit, attempt) = match &container.life {
        Life::Exited { exit, .. } if comes_back(seen, &spec.name, exit) => {
            (exit, container.attempt)
        }
        _ => (
            container.last.as_ref()?,
            container.attempt.saturating_sub(1),
        ),
    };
    Some(terminated(exit, &runtime::id(uid, &spec.name, attempt)))
}

fn condition_list(status: Option<&PodStatus>) -> &[PodCondition] {
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

/// Whether the API shows the conditions as they were reported: others may touch them, as the node lifecycle controller
/// does when a node goes silent.
pub(crate) fn shown_as_reported(pod: &Pod, status: &PodStatus) -> bool {
    let shown = condition_list(pod.status.as_ref());
    let own = condition_list(Some(status))
        .iter()
        .filter(|c| OWN.contains(&c.type_.as_str()));
    own.into_iter().all(|c| {
        shown
            .iter()
            .any(|s| s.type_ == c.type_ && s.status == c.status)
    })
}

fn conditions(
    seen: &Seen<'_>,
    init_done: bool,
    main: &[ContainerStatus],
    ending: Option<Ending>,
) -> Vec<PodCondition> {
    let shown = condition_list(seen.pod.status.as_ref());
    let old = condition_list(seen.reported.or(seen.pod.status.as_ref()));
    let unready: Vec<&str> = main
        .iter()
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    let containers_ready = unready.is_empty() && ending.is_none();
    let gates = pod::spec(seen.pod).readiness_gates.unwrap_or_default();
    let closed: Vec<String> = gates
        .into_iter()
        .map(|gate| gate.condition_type)
        .filter(|gate| !shown.iter().any(|c| &c.type_ == gate && c.status == "True"))
        .collect();
    let why_unready = || match ending {
        Some(_) => ("PodCompleted", None),
        None => (
            "ContainersNotReady",
            Some(format!("containers with unready status: {unready:?}")),
        ),
    };
    let (reason, message) = why_unready();
    let own = [
        (
            OWN[0],
            seen.state.sandbox == Sandbox::Ready,
            "SandboxNotReady",
            None,
        ),
        (OWN[1], init_done, "ContainersNotInitialized", None),
        (OWN[2], containers_ready, reason, message.clone()),
        if containers_ready && !closed.is_empty() {
            (
                OWN[3],
                false,
                "ReadinessGatesNotReady",
                Some(format!("gates not passed: {closed:?}")),
            )
        } else {
            (OWN[3], containers_ready, reason, message)
        },
    ];
    let others = old
        .iter()
        .filter(|c| !OWN.contains(&c.type_.as_str()))
        .cloned();
    let own = own.into_iter().map(|(kind, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let same = old.iter().find(|c| c.type_ == kind && c.status == status);
        let since = same.and_then(|c| c.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: (!holds).then(|| reason.to_owned()),
            message: if holds { None } else { message },
            last_transition_time: Some(since.unwrap_or(Time(seen.wall))),
            ..PodCondition::default()
        }
    });
    own.chain(others).collect()
}

#[cfg(test)]
mod tests;
