//! What to do next for one Pod. Pure: goal and state in, actions and the next moment to look again out.
//!
//! Invariants: a container is started only in a ready sandbox, and only after every init container before it is done
//! (or, for a sidecar, started); nothing is started once the Pod is to stop; the sandbox goes only after the last
//! process, and the Pod object after the sandbox.

use std::time::{Duration, Instant};

use super::state::{Container, Life, PodState, Sandbox, Stopping};

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    fn again(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// An init container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Init {
    pub(crate) name: String,
    /// `restartPolicy: Always`: it stays, and the next one need not wait for its end.
    pub(crate) sidecar: bool,
}

/// What shall become of the Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Run,
    /// Stop within the grace; then remove the Pod object, unless it is gone already.
    Stop {
        grace: Duration,
        forget: bool,
    },
}

/// The Pod's spec, as far as the plan goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) wanted: Wanted,
    pub(crate) restart: Restart,
    pub(crate) init: Vec<Init>,
    pub(crate) main: Vec<String>,
    /// Grace for containers stopped while the Pod goes on.
    pub(crate) grace: Duration,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    MakeSandbox,
    Start(String),
    /// preStop, SIGTERM, and SIGKILL when the grace is over.
    Terminate(String, Duration),
    Kill(String),
    TearDown,
    /// Delete the Pod object with no grace.
    Forget,
}

/// Actions, and when to plan again though nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake: Option<Instant>,
}

impl Plan {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Starts a container whose turn it is, as soon as its wait is over.
    fn start_when_due(
        &mut self,
        now: Instant,
        name: &str,
        container: &Container,
        restart: Restart,
    ) {
        let due = match &container.life {
            Life::Created => now,
            Life::Held { retry_at, .. } => *retry_at,
            Life::Exited { exit, restart_at } if restart.again(exit.code) => *restart_at,
            Life::Running { .. } | Life::Exited { .. } => return,
        };
        if due <= now {
            self.act(Action::Start(name.to_owned()));
        } else {
            self.wake_at(due);
        }
    }

    /// Sends SIGKILL where the grace is over.
    fn enforce(&mut self, now: Instant, name: &str, stopping: Stopping) {
        if stopping.killed {
            return;
        }
        if stopping.kill_at <= now {
            self.act(Action::Kill(name.to_owned()));
        } else {
            self.wake_at(stopping.kill_at);
        }
    }

    fn stop(&mut self, now: Instant, name: &str, life: &Life, grace: Duration) {
        match life {
            Life::Running {
                stopping: Some(stopping),
                ..
            } => {
                // A second, shorter deletion shortens the grace of the first.
                let kill_at = stopping.kill_at.min(now + grace);
                self.enforce(
                    now,
                    name,
                    Stopping {
                        kill_at,
                        ..*stopping
                    },
                );
            }
            Life::Running { stopping: None, .. } if grace.is_zero() => {
                self.act(Action::Kill(name.to_owned()));
            }
            Life::Running { stopping: None, .. } => {
                self.act(Action::Terminate(name.to_owned(), grace));
            }
            Life::Created | Life::Held { .. } | Life::Exited { .. } => {}
        }
    }
}

/// How a Pod that will do nothing more has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Succeeded,
    Failed,
}

/// Whether the Pod is over by its own account.
pub(crate) fn ending(goal: &Goal, state: &PodState) -> Option<Ending> {
    let code = |name: &str| match state.containers.get(name).map(|c| &c.life) {
        Some(Life::Exited { exit, .. }) => Some(exit.code),
        _ => None,
    };
    let init_failed = goal
        .init
        .iter()
        .any(|init| !init.sidecar && code(&init.name).is_some_and(|code| code != 0));
    if init_failed && goal.restart == Restart::Never {
        return Some(Ending::Failed);
    }
    let codes: Vec<i32> = goal
        .main
        .iter()
        .map(|name| code(name))
        .collect::<Option<_>>()?;
    if codes.iter().any(|code| goal.restart.again(*code)) {
        return None;
    }
    Some(if codes.iter().all(|code| *code == 0) {
        Ending::Succeeded
    } else {
        Ending::Failed
    })
}

/// The next steps.
pub(crate) fn plan(now: Instant, goal: &Goal, state: &PodState) -> Plan {
    let mut plan = Plan::default();
    if let Wanted::Stop { grace, forget } = goal.wanted {
        stop_all(&mut plan, now, goal, state, grace);
        if !state.containers.values().any(Container::running) {
            if state.sandbox != Sandbox::Gone {
                plan.act(Action::TearDown);
            }
            if forget {
                plan.act(Action::Forget);
            }
        }
        return plan;
    }
    if ending(goal, state).is_some() {
        stop_all(&mut plan, now, goal, state, goal.grace);
        if !state.containers.values().any(Container::running) && state.sandbox != Sandbox::Gone {
            plan.act(Action::TearDown);
        }
        return plan;
    }
    match &state.sandbox {
        Sandbox::Absent => plan.act(Action::MakeSandbox),
        Sandbox::Held { retry_at, .. } if *retry_at <= now => plan.act(Action::MakeSandbox),
        Sandbox::Held { retry_at, .. } => plan.wake_at(*retry_at),
        Sandbox::Ready => run(&mut plan, now, goal, state),
        Sandbox::Gone => {}
    }
    plan
}

/// Main containers first, sidecars after the last of them.
fn stop_all(plan: &mut Plan, now: Instant, goal: &Goal, state: &PodState, grace: Duration) {
    let sidecar = |name: &str| {
        goal.init
            .iter()
            .any(|init| init.sidecar && init.name == name)
    };
    let mains_run = state
        .containers
        .iter()
        .any(|(name, c)| c.running() && !sidecar(name));
    for (name, container) in &state.containers {
        if mains_run && sidecar(name) && !grace.is_zero() {
            continue;
        }
        plan.stop(now, name, &container.life, grace);
    }
}

fn run(plan: &mut Plan, now: Instant, goal: &Goal, state: &PodState) {
    for (name, container) in &state.containers {
        if let Life::Running {
            stopping: Some(stopping),
            ..
        } = container.life
        {
            plan.enforce(now, name, stopping);
        }
    }
    for init in &goal.init {
        let container = state.container(&init.name);
        let passed = match &container.life {
            Life::Running { started, .. } => init.sidecar && *started,
            Life::Exited { exit, .. } if !init.sidecar => exit.code == 0,
            // A sidecar that comes back does not hold up what already runs.
            _ => init.sidecar && container.attempt > 0,
        };
        if !passed || init.sidecar {
            let restart = match (init.sidecar, goal.restart) {
                (true, _) => Restart::Always,
                (false, Restart::Never) => Restart::Never,
                (false, _) => Restart::OnFailure,
            };
            plan.start_when_due(now, &init.name, &container, restart);
        }
        if !passed {
            return;
        }
    }
    for name in &goal.main {
        plan.start_when_due(now, name, &state.container(name), goal.restart);
    }
}

#[cfg(test)]
mod tests;
