use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::kubelet::state::Exit;

const GRACE: Duration = Duration::from_secs(30);

fn goal() -> Goal {
    Goal {
        wanted: Wanted::Run,
        restart: Restart::Always,
        init: Vec::new(),
        main: vec!["app".into()],
        grace: GRACE,
    }
}

fn stop(grace: u64) -> Wanted {
    Wanted::Stop {
        grace: Duration::from_secs(grace),
        forget: true,
    }
}

fn running(stopping: Option<Stopping>) -> Container {
    let life = Life::Running {
        since: Timestamp::UNIX_EPOCH,
        started: true,
        ready: true,
        stopping,
    };
    Container {
        life,
        tried: true,
        ..Container::default()
    }
}

fn exited(code: i32, restart_at: Instant) -> Container {
    let exit = Exit {
        code,
        reason: "Completed".into(),
        message: None,
        started_at: None,
        finished_at: Timestamp::UNIX_EPOCH,
    };
    Container {
        life: Life::Exited { exit, restart_at },
        tried: true,
        ..Container::default()
    }
}

fn state(sandbox: Sandbox, containers: &[(&str, Container)]) -> PodState {
    PodState {
        sandbox,
        containers: containers
            .iter()
            .map(|(n, c)| ((*n).to_owned(), c.clone()))
            .collect(),
    }
}

fn start(name: &str) -> Action {
    Action::Start(name.into())
}

#[test]
fn a_new_pod_gets_its_sandbox_first() {
    let now = Instant::now();
    let plan = plan(now, &goal(), &PodState::default());
    assert_eq!(plan.actions, [Action::MakeSandbox]);
}

#[test]
fn a_container_starts_in_a_ready_sandbox() {
    let now = Instant::now();
    assert_eq!(
        plan(now, &goal(), &state(Sandbox::Ready, &[])).actions,
        [start("app")]
    );
}

#[test]
fn a_failed_sandbox_is_tried_again_when_its_wait_is_over() {
    let now = Instant::now();
    let at = now + Duration::from_secs(2);
    let held = state(
        Sandbox::Held {
            reason: "",
            message: String::new(),
            retry_at: at,
        },
        &[],
    );
    assert_eq!(
        plan(now, &goal(), &held),
        Plan {
            actions: vec![],
            wake: Some(at)
        }
    );
    assert_eq!(plan(at, &goal(), &held).actions, [Action::MakeSandbox]);
}

#[test]
fn init_containers_run_in_order_and_before_the_rest() {
    let now = Instant::now();
    let init = |name: &str| Init {
        name: name.into(),
        sidecar: false,
    };
    let goal = Goal {
        init: vec![init("one"), init("two")],
        ..goal()
    };
    let at = |c: &[(&str, Container)]| plan(now, &goal, &state(Sandbox::Ready, c)).actions;
    assert_eq!(at(&[]), [start("one")]);
    assert_eq!(at(&[("one", running(None))]), []);
    assert_eq!(at(&[("one", exited(0, now))]), [start("two")]);
    assert_eq!(
        at(&[("one", exited(1, now))]),
        [start("one")],
        "a failed one is repeated"
    );
    assert_eq!(
        at(&[("one", exited(0, now)), ("two", exited(0, now))]),
        [start("app")]
    );
}

#[test]
fn a_sidecar_opens_the_way_once_started_and_comes_back() {
    let now = Instant::now();
    let goal = Goal {
        init: vec![Init {
            name: "proxy".into(),
            sidecar: true,
        }],
        ..goal()
    };
    let at = |c: &[(&str, Container)]| plan(now, &goal, &state(Sandbox::Ready, c)).actions;
    assert_eq!(at(&[]), [start("proxy")]);
    assert_eq!(at(&[("proxy", running(None))]), [start("app")]);
    assert_eq!(
        at(&[("proxy", exited(0, now)), ("app", running(None))]),
        [start("proxy")]
    );
}

#[test]
fn an_ended_container_waits_for_its_turn_to_restart() {
    let now = Instant::now();
    let at = now + Duration::from_secs(4);
    let s = state(Sandbox::Ready, &[("app", exited(1, at))]);
    assert_eq!(
        plan(now, &goal(), &s),
        Plan {
            actions: vec![],
            wake: Some(at)
        }
    );
    assert_eq!(plan(at, &goal(), &s).actions, [start("app")]);
}

#[test]
fn the_restart_policy_decides_who_comes_back() {
    let now = Instant::now();
    let at = |restart, code| {
        let s = state(Sandbox::Ready, &[("app", exited(code, now))]);
        plan(now, &Goal { restart, ..goal() }, &s).actions
    };
    assert_eq!(at(Restart::Always, 0), [start("app")]);
    assert_eq!(at(Restart::OnFailure, 1), [start("app")]);
    assert_eq!(at(Restart::OnFailure, 0), [Action::TearDown]);
    assert_eq!(at(Restart::Never, 1), [Action::TearDown]);
}

#[test]
fn an_ended_pod_says_how() {
    let now = Instant::now();
    let of = |restart, code| {
        let s = state(Sandbox::Ready, &[("app", exited(code, now))]);
        ending(&Goal { restart, ..goal() }, &s)
    };
    assert_eq!(of(Restart::Never, 0), Some(Ending::Succeeded));
    assert_eq!(of(Restart::Never, 3), Some(Ending::Failed));
    assert_eq!(of(Restart::Always, 0), None);
}

#[test]
fn deletion_terminates_then_kills_then_removes() {
    let now = Instant::now();
    let goal = Goal {
        wanted: stop(5),
        ..goal()
    };
    let s = state(Sandbox::Ready, &[("app", running(None))]);
    let grace = Duration::from_secs(5);
    assert_eq!(
        plan(now, &goal, &s).actions,
        [Action::Terminate("app".into(), grace)]
    );

    let kill_at = now + grace;
    let s = state(
        Sandbox::Ready,
        &[(
            "app",
            running(Some(Stopping {
                kill_at,
                killed: false,
            })),
        )],
    );
    assert_eq!(
        plan(now, &goal, &s),
        Plan {
            actions: vec![],
            wake: Some(kill_at)
        }
    );
    assert_eq!(
        plan(kill_at, &goal, &s).actions,
        [Action::Kill("app".into())]
    );

    let s = state(
        Sandbox::Ready,
        &[(
            "app",
            running(Some(Stopping {
                kill_at,
                killed: true,
            })),
        )],
    );
    assert_eq!(
        plan(kill_at, &goal, &s),
        Plan::default(),
        "one kill is enough"
    );

    let s = state(Sandbox::Ready, &[("app", exited(143, now))]);
    assert_eq!(
        plan(now, &goal, &s).actions,
        [Action::TearDown, Action::Forget]
    );
}

#[test]
fn a_deletion_without_grace_kills_at_once() {
    let now = Instant::now();
    let goal = Goal {
        wanted: stop(0),
        ..goal()
    };
    let later = Stopping {
        kill_at: now + GRACE,
        killed: false,
    };
    for stopping in [None, Some(later)] {
        let s = state(Sandbox::Ready, &[("app", running(stopping))]);
        assert_eq!(plan(now, &goal, &s).actions, [Action::Kill("app".into())]);
    }
}

#[test]
fn a_pod_deleted_before_it_began_is_forgotten_without_a_start() {
    let now = Instant::now();
    let goal = Goal {
        wanted: stop(30),
        ..goal()
    };
    assert_eq!(
        plan(now, &goal, &PodState::default()).actions,
        [Action::TearDown, Action::Forget]
    );
}

#[test]
fn a_pod_whose_object_is_gone_is_not_deleted_again() {
    let now = Instant::now();
    let goal = Goal {
        wanted: Wanted::Stop {
            grace: GRACE,
            forget: false,
        },
        ..goal()
    };
    assert_eq!(
        plan(now, &goal, &state(Sandbox::Gone, &[])),
        Plan::default()
    );
}

#[test]
fn sidecars_stop_after_the_containers_they_serve() {
    let now = Instant::now();
    let goal = Goal {
        wanted: stop(5),
        init: vec![Init {
            name: "proxy".into(),
            sidecar: true,
        }],
        ..goal()
    };
    let s = state(
        Sandbox::Ready,
        &[("app", running(None)), ("proxy", running(None))],
    );
    let grace = Duration::from_secs(5);
    assert_eq!(
        plan(now, &goal, &s).actions,
        [Action::Terminate("app".into(), grace)]
    );
    let s = state(
        Sandbox::Ready,
        &[("app", exited(0, now)), ("proxy", running(None))],
    );
    assert_eq!(
        plan(now, &goal, &s).actions,
        [Action::Terminate("proxy".into(), grace)]
    );
}

fn any_container(now: Instant) -> impl Strategy<Value = Container> {
    let at = (0u64..10).prop_map(move |s| now + Duration::from_secs(s));
    prop_oneof![
        Just(Container::default()),
        Just(running(None)),
        (at.clone(), any::<bool>())
            .prop_map(|(kill_at, killed)| running(Some(Stopping { kill_at, killed }))),
        (0i32..3, at).prop_map(|(code, at)| exited(code, at)),
    ]
}

proptest! {
    #[test]
    fn nothing_starts_while_stopping_and_the_sandbox_outlives_every_process(
        seed in proptest::collection::vec((0u64..10).prop_map(|s| s), 1..2),
        grace in 0u64..5,
        containers in proptest::collection::btree_map(
            proptest::sample::select(vec!["app", "init", "proxy"]),
            any_container(Instant::now()), 0..4),
    ) {
        let now = Instant::now() + Duration::from_secs(seed[0]);
        let goal = Goal {
            wanted: stop(grace),
            init: vec![Init { name: "init".into(), sidecar: false },
                       Init { name: "proxy".into(), sidecar: true }],
            ..goal()
        };
        let s = PodState {
            sandbox: Sandbox::Ready,
            containers: containers.into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
        };
        let p = plan(now, &goal, &s);
        prop_assert!(!p.actions.iter().any(|a| matches!(a, Action::Start(_) | Action::MakeSandbox)));
        let alive = s.containers.values().any(Container::running);
        prop_assert_eq!(p.actions.contains(&Action::TearDown), !alive);
        prop_assert_eq!(p.actions.contains(&Action::Forget), !alive);
    }
}
