//! Probes of running containers, and what their verdicts lead to.

use k8s_openapi::api::core::v1::Container;
use tokio_util::sync::CancellationToken;

use super::{Input, Trouble, Worker};
use crate::kubelet::{
    probe::{self, Purpose},
    prober, runtime,
    state::Life,
};

const CONFIG_ERROR: &str = "CreateContainerConfigError";

impl Worker {
    /// Refuses a container whose probes or hook cannot be asked.
    pub(super) fn check_probes(&self, spec: &Container) -> Result<(), Trouble> {
        let Some(ip) = self.addresses.pod.first() else {
            return Ok(());
        };
        for purpose in [Purpose::Startup, Purpose::Liveness, Purpose::Readiness] {
            probe::schedule(spec, purpose, *ip)
                .map_err(|error| Trouble::new(CONFIG_ERROR, format!("{purpose} probe: {error}")))?;
        }
        probe::pre_stop(spec, *ip)
            .map(drop)
            .map_err(|error| Trouble::new(CONFIG_ERROR, format!("preStop hook: {error}")))
    }

    /// Starts the startup probe, or, where there is none or it has passed, the others.
    pub(super) fn start_probes(&mut self, spec: &Container, attempt: u32) {
        let started = matches!(
            self.state.container(&spec.name).life,
            Life::Running { started: true, .. }
        );
        let purposes: &[Purpose] = if started {
            &[Purpose::Liveness, Purpose::Readiness]
        } else {
            &[Purpose::Startup]
        };
        let token = CancellationToken::new();
        if let Some(old) = self.probes.insert(spec.name.clone(), token.clone()) {
            old.cancel();
        }
        let Some(ip) = self.addresses.pod.first().copied() else {
            return;
        };
        for purpose in purposes.iter().copied() {
            let Ok(Some(schedule)) = probe::schedule(spec, purpose, ip) else {
                continue;
            };
            let id = runtime::id(&self.id.uid, &spec.name, attempt);
            let sender = self.sender.clone();
            let container = spec.name.clone();
            let report = move |ok, message| {
                let container = container.clone();
                let _ = sender.send(Input::Verdict {
                    container,
                    attempt,
                    purpose,
                    ok,
                    message,
                });
            };
            let asking = prober::run(self.context.runtime.clone(), id, schedule, report);
            tokio::spawn(token.clone().run_until_cancelled_owned(asking));
        }
    }

    /// Takes in a probe's verdict.
    pub(super) fn verdict(
        &mut self,
        name: &str,
        attempt: u32,
        purpose: Purpose,
        ok: bool,
        message: &str,
    ) {
        let Some(spec) = self.spec_of(name) else {
            return;
        };
        let grace = self.goal().grace;
        let Some(container) = self.state.containers.get_mut(name) else {
            return;
        };
        if container.attempt != attempt {
            return;
        }
        let Life::Running {
            started,
            ready,
            stopping,
            ..
        } = &mut container.life
        else {
            return;
        };
        let stops = stopping.is_some();
        match purpose {
            Purpose::Readiness => *ready = ok,
            Purpose::Startup if ok => {
                *started = true;
                *ready = spec.readiness_probe.is_none();
            }
            Purpose::Startup | Purpose::Liveness => {}
        }
        if !ok {
            self.tell(
                true,
                "Unhealthy",
                format!("{purpose} probe of {name} failed: {message}"),
            );
        }
        match purpose {
            Purpose::Startup if ok => self.start_probes(&spec, attempt),
            Purpose::Startup | Purpose::Liveness if !ok && !stops => self.terminate(name, grace),
            Purpose::Startup | Purpose::Liveness | Purpose::Readiness => {}
        }
    }
}
