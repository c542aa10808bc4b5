//! The Pod's network, address and volumes: made before the first container, removed after the last.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{ServiceAccount, ServiceAccountTokenProjection},
    },
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use nix::mount::{MsFlags, mount};
use tracing::warn;

use super::{Token, Trouble, Worker};
use crate::kubelet::{
    clean, env, hosts, network, objects,
    pod::{self, PodId},
    records::PodRecord,
    security, services,
    state::Sandbox,
    volumes::{self, Content, Material},
    writer::{self, Owner},
};

const CONFIG_ERROR: &str = "CreateContainerConfigError";
const CREATING: &str = "ContainerCreating";

impl Worker {
    /// Makes the sandbox, or notes what is in the way.
    pub(super) async fn make_sandbox(&mut self) {
        self.state.sandbox = match self.try_sandbox().await {
            Ok(()) => Sandbox::Ready,
            Err(Trouble { reason, message }) => {
                self.tell(true, "FailedCreatePodSandBox", &message);
                let retry_at = Instant::now() + self.sandbox_backoff.next();
                Sandbox::Held {
                    reason,
                    message,
                    retry_at,
                }
            }
        };
    }

    async fn try_sandbox(&mut self) -> Result<(), Trouble> {
        let contents =
            volumes::of_pod(&self.pod).map_err(|error| Trouble::new(CONFIG_ERROR, error))?;
        let creating = |error: anyhow::Error| Trouble::new(CREATING, format!("{error:#}"));
        self.make_network().await.map_err(creating)?;
        self.write_record(false).map_err(creating)?;
        self.make_volumes(&contents).await?;
        if self.context.services.borrow().is_none() {
            return Err(Trouble::new(CREATING, "the Services are not listed yet"));
        }
        self.write_hosts();
        self.write_record(true).map_err(creating)
    }

    fn write_record(&self, ready: bool) -> Result<()> {
        let PodId {
            namespace,
            name,
            uid,
        } = self.id.clone();
        let record = PodRecord {
            namespace,
            name,
            uid,
            network: self.network.clone(),
            addresses: self.addresses.pod.clone(),
            ready,
        };
        self.dir
            .write_record(&record)
            .context("write the Pod's record")
    }

    async fn make_network(&mut self) -> Result<()> {
        let settings = &self.context.settings;
        if pod::host_network(&pod::spec(&self.pod)) {
            self.addresses.pod = settings.node_ips.clone();
            return Ok(());
        }
        if self.addresses.pod.is_empty() {
            let ranges = self.context.cidrs.borrow().clone();
            if ranges.is_empty() {
                bail!("the node has no podCIDR yet");
            }
            let assigned = self.context.ips.lock().assign(&ranges);
            self.addresses.pod = assigned.context("the node's podCIDRs have no free address")?;
        }
        let short = self.id.short();
        let network = network::names(&settings.pod_netns_prefix, &short, &settings.netns);
        // Recorded before it is made, so that a crash in between leaves nothing unnamed.
        self.network = Some(network.clone());
        self.write_record(false)?;
        network::make(&short, &network, &self.addresses.pod, &settings.node_ips).await
    }

    async fn make_volumes(&mut self, contents: &BTreeMap<String, Content>) -> Result<(), Trouble> {
        for (name, content) in contents {
            let made = match content {
                Content::EmptyDir { memory, size } => {
                    self.make_empty_dir(name, *memory, size.as_deref())
                }
                Content::HostPath { path, kind } => self.check_host_path(path, kind),
                Content::Files(_) => Ok(()),
            };
            made.map_err(|error| Trouble::new(CREATING, format!("volume {name:?}: {error:#}")))?;
        }
        let fetched = self.fetch(contents).await;
        fetched.map_err(|error| Trouble::new(CREATING, format!("{error:#}")))?;
        self.write_files(contents)
    }

    fn make_empty_dir(&self, name: &str, memory: bool, size: Option<&str>) -> Result<()> {
        let dir = self.dir.volume(name);
        if dir.exists() {
            return Ok(());
        }
        fs::create_dir_all(&dir)?;
        if memory {
            let size = size.map(|size| format!("size={}", size.trim_end_matches('i')));
            mount(
                Some("tmpfs"),
                &dir,
                Some("tmpfs"),
                MsFlags::empty(),
                size.as_deref(),
            )
            .context("mount a tmpfs")?;
        }
        let group = security::fs_group(&pod::spec(&self.pod));
        chown(&dir, None, group)?;
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        Ok(fs::set_permissions(&dir, fs::Permissions::from_mode(mode))?)
    }

    fn check_host_path(&self, path: &str, kind: &str) -> Result<()> {
        if path.split('/').any(|part| part == "..") {
            bail!("hostPath {path:?} leaves the node's root");
        }
        let real = self.context.root.host(path);
        match kind {
            // A container runtime makes a path of no stated type.
            "" | "DirectoryOrCreate" => fs::create_dir_all(&real)
                .or_else(|error| if real.exists() { Ok(()) } else { Err(error) })?,
            "FileOrCreate" => {
                fs::create_dir_all(real.parent().unwrap_or(Path::new("/")))?;
                fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&real)?;
            }
            "Directory" if real.is_dir() => {}
            "File" if real.is_file() => {}
            "Directory" | "File" => bail!("hostPath {path:?} is no {kind} of the node"),
            other => bail!("the lab's kubelet does not play hostPath.type: {other}"),
        }
        Ok(())
    }

    /// Fetches objects and tokens that volumes and environments are made from.
    async fn fetch(&mut self, contents: &BTreeMap<String, Content>) -> Result<()> {
        let names = objects::named(&self.pod);
        let client = &self.context.client;
        self.objects = objects::fetch(client, &self.id.namespace, &names).await?;
        let wanted: Vec<_> = volumes::tokens(contents).cloned().collect();
        for projection in wanted {
            let audience = projection.audience.clone().unwrap_or_default();
            let fresh = self
                .tokens
                .get(&audience)
                .is_some_and(|t| t.renew_at > Instant::now());
            if !fresh {
                let token = self
                    .request_token(&projection)
                    .await
                    .context("request a token")?;
                self.tokens.insert(audience, token);
            }
        }
        Ok(())
    }

    async fn request_token(&self, projection: &ServiceAccountTokenProjection) -> Result<Token> {
        let account = pod::spec(&self.pod).service_account_name;
        let account = account.unwrap_or_else(|| "default".to_owned());
        let api: Api<ServiceAccount> =
            Api::namespaced(self.context.client.clone(), &self.id.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: projection.audience.iter().cloned().collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(self.id.name.clone()),
                    uid: Some(self.id.uid.clone()),
                }),
                expiration_seconds: projection.expiration_seconds,
            },
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&account, &PostParams::default(), &request)
            .await?;
        let status = answer.status.context("the answer holds no token")?;
        let left = status
            .expiration_timestamp
            .0
            .duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        Ok(Token {
            text: status.token,
            renew_at: Instant::now() + left.mul_f64(0.8),
        })
    }

    /// Writes the files of all volumes that have some.
    fn write_files(&self, contents: &BTreeMap<String, Content>) -> Result<(), Trouble> {
        let spec = pod::spec(&self.pod);
        let owner = Owner {
            user: security::common_user(&spec),
            group: security::fs_group(&spec),
        };
        let tokens = self
            .tokens
            .iter()
            .map(|(audience, t)| (audience.clone(), t.text.clone()));
        let material = Material {
            pod: &self.pod,
            addresses: &self.addresses,
            objects: &self.objects,
            tokens: &tokens.collect(),
        };
        let generation = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        for (name, content) in contents {
            let Content::Files(sources) = content else {
                continue;
            };
            let trouble = |error: &dyn std::fmt::Display| {
                Trouble::new(CREATING, format!("volume {name:?}: {error}"))
            };
            let files = volumes::files(sources, &material).map_err(|error| match error {
                volumes::VolumeError::Downward(env::EnvError::Unplayed(_))
                | volumes::VolumeError::Path(_) => {
                    Trouble::new(CONFIG_ERROR, format!("volume {name:?}: {error}"))
                }
                error => trouble(&error),
            })?;
            writer::write(&self.dir.volume(name), &files, owner, generation)
                .map_err(|error| trouble(&error))?;
        }
        Ok(())
    }

    /// Where each volume is on the host.
    pub(super) fn volume_paths(&self) -> BTreeMap<String, PathBuf> {
        let contents = volumes::of_pod(&self.pod).unwrap_or_default();
        let path = |(name, content): (String, Content)| {
            let path = match &content {
                Content::HostPath { path, .. } => self.context.root.host(path),
                Content::EmptyDir { .. } | Content::Files(_) => self.dir.volume(&name),
            };
            (name, path)
        };
        contents.into_iter().map(path).collect()
    }

    /// Writes `/etc/hosts` in place: it is bound into running containers.
    pub(super) fn write_hosts(&self) {
        let services = self.context.services.borrow().clone().unwrap_or_default();
        let aliases = pod::spec(&self.pod).host_aliases.unwrap_or_default();
        let hostname = pod::hostname(&self.pod, &self.context.settings.node_name);
        let text = hosts::render(
            &self.id.namespace,
            &hostname,
            &self.addresses,
            &aliases,
            &services,
        );
        let path = self.dir.hosts();
        if !self.dir.path().exists() || fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return;
        }
        if let Err(error) = fs::write(&path, text) {
            warn!(pod = %self.id, "write {}: {error}", path.display());
        }
    }

    /// Variables of Services as of now.
    pub(super) fn service_variables(&self) -> BTreeMap<String, String> {
        let known = self.context.services.borrow().clone().unwrap_or_default();
        let links = pod::spec(&self.pod).enable_service_links != Some(false);
        services::environment(&known, &self.id.namespace, links)
    }

    /// Brings the volumes of a running Pod up to date.
    pub(super) async fn refresh(&mut self) {
        if self.state.sandbox != Sandbox::Ready || self.over.is_some() {
            return;
        }
        let Ok(contents) = volumes::of_pod(&self.pod) else {
            return;
        };
        if let Err(error) = self.fetch(&contents).await {
            warn!(pod = %self.id, "refresh volumes: {error:#}");
            return;
        }
        if let Err(trouble) = self.write_files(&contents) {
            warn!(pod = %self.id, "refresh volumes: {}", trouble.message);
        }
    }

    /// Removes everything of the Pod but its object.
    pub(super) async fn tear_down(&mut self) {
        if let Some(record) = self.dir.record()
            && let Err(error) = clean::pod(&self.context.runtime, &self.dir, &record).await
        {
            warn!(pod = %self.id, "tear down: {error:#}");
        }
        if self.network.take().is_some() {
            self.context.ips.lock().release(&self.addresses.pod);
        }
        self.state.sandbox = Sandbox::Gone;
    }
}
