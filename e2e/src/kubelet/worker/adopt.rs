//! Takes over what another process left: this agent before it died, or a node before it was cleaned.

use std::time::Instant;

use super::{Worker, containers};
use crate::kubelet::{
    clean, network, pod,
    state::{Container, Life, Sandbox},
};

impl Worker {
    /// Finds the Pod's sandbox and containers by their records.
    pub(super) async fn adopt(&mut self) {
        let Some(record) = self.dir.record() else {
            self.adopt_status();
            return;
        };
        let network_stands = match &record.network {
            Some(network) => network::exists(network).await,
            None => true,
        };
        if !record.ready || !network_stands {
            if let Err(error) = clean::pod(&self.context.runtime, &self.dir, &record).await {
                tracing::warn!(pod = %self.id, "clean up an unfinished start: {error:#}");
            }
            if record.network.is_some() {
                self.context.ips.lock().release(&record.addresses);
            }
            self.adopt_status();
            return;
        }
        self.addresses.pod = record.addresses;
        self.network = record.network;
        self.state.sandbox = Sandbox::Ready;
        let spec = pod::spec(&self.pod);
        for spec in pod::containers(&spec) {
            self.adopt_container(spec).await;
        }
        tracing::info!(pod = %self.id, "adopted");
        self.refresh().await;
        self.write_hosts();
    }

    async fn adopt_container(&mut self, spec: &k8s_openapi::api::core::v1::Container) {
        let Some(attempt) = self.dir.attempts(&spec.name).pop() else {
            return;
        };
        let bundle = self.dir.bundle(&spec.name, attempt);
        let mut container = Container {
            attempt,
            tried: true,
            ..Container::default()
        };
        match bundle
            .shim()
            .filter(|shim| shim.process.is_alive() && bundle.exit().is_none())
        {
            Some(shim) => {
                container.life = containers::running(spec, shim.started_at.0);
                self.keep_verdicts(&spec.name, &mut container);
                self.state.containers.insert(spec.name.clone(), container);
                self.await_end(&spec.name, attempt, &bundle);
                self.start_probes(spec, attempt);
            }
            None => {
                clean::bury(&self.context.runtime, &bundle).await;
                let exit = self.exit_of(&spec.name, &bundle).await;
                container.life = Life::Exited {
                    exit,
                    restart_at: Instant::now(),
                };
                self.state.containers.insert(spec.name.clone(), container);
            }
        }
    }

    /// What was reported of this very attempt holds until a probe says otherwise, so that a new agent does not take
    /// a Pod out of its Services.
    fn keep_verdicts(&self, name: &str, container: &mut Container) {
        let statuses = self.pod.status.iter().flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        });
        let mut same = statuses.filter(|old| {
            old.name == name && u32::try_from(old.restart_count) == Ok(container.attempt)
        });
        if let (Some(old), Life::Running { started, ready, .. }) =
            (same.next(), &mut container.life)
        {
            *started |= old.started == Some(true);
            *ready |= old.ready && *started;
        }
    }

    /// Nothing is left of the Pod here: go on counting restarts where its status stopped, and leave an ended Pod ended.
    fn adopt_status(&mut self) {
        let Some(status) = &self.pod.status else {
            return;
        };
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            self.state.sandbox = Sandbox::Gone;
            return;
        }
        let init = status.init_container_statuses.iter().flatten();
        for old in init.chain(status.container_statuses.iter().flatten()) {
            if old.container_id.is_some() {
                let attempt = u32::try_from(old.restart_count).unwrap_or(0);
                let container = Container {
                    attempt,
                    tried: true,
                    ..Container::default()
                };
                self.state.containers.insert(old.name.clone(), container);
            }
        }
    }
}
