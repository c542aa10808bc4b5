use std::{collections::BTreeMap, time::Instant};

use super::*;

const POD: &str = "
metadata: {name: p, namespace: shop, uid: u}
spec:
  containers: [{name: app, image: 'x:1'}]
status:
  conditions:
    - {type: PodScheduled, status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z'}
    - {type: Ready, status: 'True', lastTransitionTime: '2026-01-02T00:00:00Z'}
";

fn built(life: Life, sandbox: Sandbox) -> PodStatus {
    let pod: Pod = serde_saphyr::from_str(POD).unwrap();
    let tried = !matches!(life, Life::Created | Life::Held { .. });
    let container = Container {
        life,
        tried,
        attempt: 2,
        ..Container::default()
    };
    let state = PodState {
        sandbox,
        containers: BTreeMap::from([("app".to_owned(), container)]),
    };
    let addresses = Addresses {
        pod: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        host: vec!["192.0.2.11".parse().unwrap()],
    };
    build(&Seen {
        pod: &pod,
        goal: &pod::goal(&pod),
        state: &state,
        addresses: &addresses,
        started: Timestamp::UNIX_EPOCH,
        wall: Timestamp::UNIX_EPOCH,
        reported: None,
    })
}

fn running(ready: bool) -> Life {
    Life::Running {
        since: Timestamp::UNIX_EPOCH,
        started: true,
        ready,
        stopping: None,
    }
}

fn exited(code: i32) -> Life {
    let exit = Exit {
        code,
        reason: "Error".into(),
        message: None,
        started_at: None,
        finished_at: Timestamp::UNIX_EPOCH,
    };
    Life::Exited {
        exit,
        restart_at: Instant::now(),
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status
        .conditions
        .as_ref()
        .unwrap()
        .iter()
        .find(|c| c.type_ == kind)
        .unwrap()
}

fn waiting_reason(status: &PodStatus) -> String {
    let containers = status.container_statuses.as_ref().unwrap();
    containers[0]
        .state
        .as_ref()
        .unwrap()
        .waiting
        .as_ref()
        .unwrap()
        .reason
        .clone()
        .unwrap()
}

#[test]
fn a_ready_pod_keeps_the_moment_it_became_ready() {
    let status = built(running(true), Sandbox::Ready);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let since = condition(&status, "Ready")
        .last_transition_time
        .clone()
        .unwrap();
    assert_eq!(since.0.to_string(), "2026-01-02T00:00:00Z");
    assert_eq!(condition(&status, "PodScheduled").status, "True");
    assert_eq!(status.pod_ips.unwrap().len(), 2);
}

#[test]
fn an_unready_container_makes_the_pod_unready_and_is_named() {
    let status = built(running(false), Sandbox::Ready);
    let ready = condition(&status, "Ready");
    assert_eq!(ready.status, "False");
    assert!(ready.message.as_ref().unwrap().contains("app"));
}

#[test]
fn a_crashed_container_waits_and_says_how_it_ended() {
    let status = built(exited(3), Sandbox::Ready);
    assert_eq!(waiting_reason(&status), "CrashLoopBackOff");
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 2);
    let last = container
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!(last.exit_code, 3);
}

#[test]
fn what_cannot_be_made_is_said_on_the_container() {
    let held = Life::Held {
        reason: "CreateContainerConfigError",
        message: "no".into(),
        retry_at: Instant::now(),
    };
    let status = built(held, Sandbox::Ready);
    assert_eq!(waiting_reason(&status), "CreateContainerConfigError");
    assert_eq!(status.phase.as_deref(), Some("Pending"));
}
