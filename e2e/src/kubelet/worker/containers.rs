//! Containers of the Pod: start, stop, end.

use std::{
    fs,
    time::{Duration, Instant},
};

use k8s_openapi::{api::core::v1::Container, jiff::Timestamp};
use tracing::warn;

use super::{Input, Trouble, Worker};
use crate::kubelet::{
    bundle::{self, Place},
    env::{self, Sources},
    images::{ImageError, Images},
    pod, probe, prober,
    records::BundleDir,
    runtime::{self, Runtime},
    state::{Exit, Life, Stopping},
    unplayed,
};

const CONFIG_ERROR: &str = "CreateContainerConfigError";
/// How much of a termination message the status holds.
const MESSAGE_LIMIT: usize = 4096;

impl Worker {
    /// Starts the next attempt of a container, or notes what is in the way.
    pub(super) async fn start(&mut self, name: &str) {
        let Some(spec) = self.spec_of(name) else {
            return;
        };
        let mut container = self.state.container(name);
        let attempt = container.attempt + u32::from(container.tried);
        match self.try_start(&spec, attempt).await {
            Ok(bundle) => {
                if let Life::Exited { exit, .. } = container.life {
                    container.last = Some(exit);
                }
                container.attempt = attempt;
                container.tried = true;
                container.life = running(&spec, Timestamp::now());
                self.state.containers.insert(name.to_owned(), container);
                self.tell(false, "Started", format!("Started container {name}"));
                self.await_end(name, attempt, &bundle);
                self.start_probes(&spec, attempt);
            }
            Err(Trouble { reason, message }) => {
                self.tell(true, "Failed", format!("container {name}: {message}"));
                if reason == "RunContainerError" {
                    container.attempt = attempt;
                    container.tried = true;
                }
                let retry_at = Instant::now() + container.backoff.next();
                container.life = Life::Held {
                    reason,
                    message,
                    retry_at,
                };
                self.state.containers.insert(name.to_owned(), container);
            }
        }
    }

    async fn try_start(&self, spec: &Container, attempt: u32) -> Result<BundleDir, Trouble> {
        let mut features = unplayed::of_pod(&self.pod);
        features.extend(unplayed::of_container(spec));
        if !features.is_empty() {
            return Err(Trouble::new(CONFIG_ERROR, unplayed::message(&features)));
        }
        self.check_probes(spec)?;
        let image = spec.image.clone().unwrap_or_default();
        let images = Images::read(&self.context.settings.images);
        let image = images
            .and_then(|images| images.present(&image))
            .map_err(|error| {
                let reason = match error {
                    ImageError::Unknown(_) => "ErrImageNeverPull",
                    ImageError::Table { .. } | ImageError::Missing { .. } => "ErrImagePull",
                };
                Trouble::new(reason, error)
            })?;
        let services = self.service_variables();
        let sources = Sources {
            pod: &self.pod,
            addresses: &self.addresses,
            objects: &self.objects,
            services: &services,
            image: &image.env,
        };
        let config_error = |error: &dyn std::fmt::Display| Trouble::new(CONFIG_ERROR, error);
        let variables = env::resolve(spec, &sources).map_err(|error| config_error(&error))?;
        let bundle = self.dir.bundle(&spec.name, attempt);
        let id = runtime::id(&self.id.uid, &spec.name, attempt);
        let place = self.place(&bundle, &id);
        let config = bundle::config(&self.pod, spec, &image, &variables, &place)
            .map_err(|error| config_error(&error))?;
        self.forget_old_attempts(&spec.name, attempt);
        Runtime::prepare(&bundle, &config)
            .map_err(|error| Trouble::new("CreateContainerError", error))?;
        let log = self.context.settings.log_dir.join(format!(
            "{}_{}_{}.log",
            self.id.namespace, self.id.name, spec.name
        ));
        let launched = self.context.runtime.launch(&bundle, &id, &log).await;
        launched.map_err(|error| Trouble::new("RunContainerError", format!("{error:#}")))?;
        Ok(bundle)
    }

    fn place(&self, bundle: &BundleDir, id: &str) -> Place {
        let settings = &self.context.settings;
        let netns = match &self.network {
            Some(network) => std::path::Path::new("/run/netns").join(&network.netns),
            None => settings.netns_path(),
        };
        Place {
            rootfs: bundle.rootfs(),
            netns,
            hostname: pod::hostname(&self.pod, &settings.node_name),
            cgroup: format!("/lf-{id}"),
            realtime: std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists(),
            hosts: self.dir.hosts(),
            termination_log: bundle.termination_log(),
            volumes: self.volume_paths(),
        }
    }

    /// Keeps the records of the attempt before this one.
    fn forget_old_attempts(&self, name: &str, attempt: u32) {
        let old = self
            .dir
            .attempts(name)
            .into_iter()
            .filter(|n| n + 1 < attempt);
        for old in old {
            if let Err(error) = fs::remove_dir_all(self.dir.bundle(name, old).path()) {
                warn!(pod = %self.id, "remove attempt {old} of {name}: {error}");
            }
        }
    }

    /// Has the end of an attempt told to this worker.
    pub(super) fn await_end(&self, name: &str, attempt: u32, bundle: &BundleDir) {
        let input = Input::Ended {
            container: name.to_owned(),
            attempt,
        };
        let sender = self.sender.clone();
        let shim = bundle.shim();
        tokio::spawn(async move {
            if let Some(shim) = shim
                && let Err(error) = runtime::ended(shim.process).await
            {
                warn!("wait for a shim: {error:#}");
            }
            let _ = sender.send(input);
        });
    }

    /// Takes in that an attempt ended.
    pub(super) async fn ended(&mut self, name: &str, attempt: u32) {
        let mut container = self.state.container(name);
        if container.attempt != attempt || !container.running() {
            return;
        }
        if let Some(probes) = self.probes.remove(name) {
            probes.cancel();
        }
        let bundle = self.dir.bundle(name, attempt);
        let exit = self.exit_of(name, &bundle).await;
        let ran = exit
            .started_at
            .map(|at| exit.finished_at.duration_since(at));
        let ran = ran
            .and_then(|ran| Duration::try_from(ran).ok())
            .unwrap_or_default();
        let restart_at = Instant::now() + container.backoff.after(ran);
        let code = exit.code;
        container.life = Life::Exited { exit, restart_at };
        self.state.containers.insert(name.to_owned(), container);
        tracing::info!(pod = %self.id, container = name, code, "ended");
    }

    /// How an attempt ended, from its records; a shim that was killed left none.
    pub(super) async fn exit_of(&self, name: &str, bundle: &BundleDir) -> Exit {
        let started_at = bundle.shim().map(|shim| shim.started_at.0);
        let message = self.termination_message(name, bundle);
        match bundle.exit() {
            Some(record) => Exit {
                code: record.code,
                reason: match (record.oom, &record.start_error, record.code) {
                    (true, _, _) => "OOMKilled",
                    (_, Some(_), _) => "StartError",
                    (_, None, 0) => "Completed",
                    (_, None, _) => "Error",
                }
                .to_owned(),
                message: record.start_error.or(message),
                started_at,
                finished_at: record.finished_at.0,
            },
            None => {
                if let Some(shim) = bundle.shim() {
                    self.context.runtime.delete(&shim.id).await;
                }
                Exit {
                    code: 137,
                    reason: "ContainerStatusUnknown".to_owned(),
                    message,
                    started_at,
                    finished_at: Timestamp::now(),
                }
            }
        }
    }

    fn termination_message(&self, name: &str, bundle: &BundleDir) -> Option<String> {
        let own = fs::read(bundle.termination_log()).unwrap_or_default();
        if !own.is_empty() {
            let end = own.len().min(MESSAGE_LIMIT);
            return Some(String::from_utf8_lossy(&own[..end]).into_owned());
        }
        let spec = self.spec_of(name)?;
        let failed = bundle.exit().is_some_and(|exit| exit.code != 0);
        if spec.termination_message_policy.as_deref() != Some("FallbackToLogsOnError") || !failed {
            return None;
        }
        let log = format!("{}_{}_{name}.log", self.id.namespace, self.id.name);
        let text = fs::read(self.context.settings.log_dir.join(log)).ok()?;
        let begin = text.len().saturating_sub(MESSAGE_LIMIT / 2);
        Some(String::from_utf8_lossy(&text[begin..]).into_owned())
    }

    /// preStop and SIGTERM, now; the plan sends SIGKILL when the grace is over.
    pub(super) fn terminate(&mut self, name: &str, grace: Duration) {
        let Some(container) = self.state.containers.get_mut(name) else {
            return;
        };
        let Life::Running { stopping, .. } = &mut container.life else {
            return;
        };
        *stopping = Some(Stopping {
            kill_at: Instant::now() + grace,
            killed: false,
        });
        let id = runtime::id(&self.id.uid, name, container.attempt);
        self.tell(false, "Killing", format!("Stopping container {name}"));
        let runtime = self.context.runtime.clone();
        let hook = self.spec_of(name).zip(self.addresses.pod.first().copied());
        let hook = hook.and_then(|(spec, ip)| probe::pre_stop(&spec, ip).ok().flatten());
        tokio::spawn(async move {
            if let Some(hook) = hook {
                prober::hook(&runtime, &id, &hook, grace).await;
            }
            if let Err(error) = runtime.signal(&id, "TERM").await {
                warn!("terminate {id}: {error:#}");
            }
        });
    }

    /// SIGKILL.
    pub(super) async fn kill(&mut self, name: &str) {
        let Some(container) = self.state.containers.get_mut(name) else {
            return;
        };
        let Life::Running { stopping, .. } = &mut container.life else {
            return;
        };
        *stopping = Some(Stopping {
            kill_at: Instant::now(),
            killed: true,
        });
        let id = runtime::id(&self.id.uid, name, container.attempt);
        if let Err(error) = self.context.runtime.signal(&id, "KILL").await {
            warn!(pod = %self.id, "kill {name}: {error:#}");
        }
    }
}

/// The life of a container that just began, as its probes have it.
pub(super) fn running(spec: &Container, since: Timestamp) -> Life {
    let started = spec.startup_probe.is_none();
    Life::Running {
        since,
        started,
        ready: started && spec.readiness_probe.is_none(),
        stopping: None,
    }
}
