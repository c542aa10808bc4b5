//! A real Kubernetes control plane as child processes: etcd and kube-apiserver, and, for a whole cluster, the
//! controller manager and the scheduler.
//!
//! ```text
//!   etcd ◄── kube-apiserver ◄── kube-controller-manager, kube-scheduler      (all in one namespace, or on loopback)
//! ```
//!
//! The lab runs it in its hub namespace; tests of anything that talks to an API server run it on loopback:
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use landfall_testbed::control_plane::{ControlPlane, Options};
//! let Some(options) = Options::for_test("my_test") else { return Ok(()) };    // says SKIPPED itself
//! let cluster = ControlPlane::start(options).await?;
//! let client = cluster.client().await?;
//! # Ok(()) }
//! ```
//!
//! Invariant: whatever was started is ended, and its directory removed, when the value is dropped; and when the process
//! that held it was killed, by the next one that starts a control plane (see [`crate::state`]).

pub mod assets;
pub mod identity;
mod restore;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::process::{Process, Program};
use identity::{Identities, User};
pub use restore::EtcdCopy;

/// Below the range of ephemeral ports, and apart from those that lead to labs left up.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// Service addresses of the cluster, both families.
pub const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:10:96::/112";
/// Pod addresses of the cluster, both families; each node gets a /24 and a /64 of them.
pub const POD_CIDRS: &str = "10.244.0.0/16,fd00:10:244::/56";
/// The Service address of the API server, which its certificate names.
const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The file of what audited users asked, in [`Options::dir`].
pub const AUDIT_LOG: &str = "audit.log";
const AUDIT_POLICY: &str = "audit-policy.json";

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the programs.
    pub assets: PathBuf,
    /// The directory for data, keys and logs: it must exist.
    pub dir: PathBuf,
    /// The namespace to run in; the caller must itself be in it to connect. None: the caller's, on loopback.
    pub netns: Option<String>,
    /// Where the API server listens.
    pub address: IpAddr,
    /// The API server's port; 0: a free one.
    pub port: u16,
    /// Users beside the components': kubelets, or those a test wants.
    pub users: Vec<User>,
    /// Whether the controller manager and the scheduler run too.
    pub controllers: bool,
    /// Users whose every request is written to [`ControlPlane::audit_log`].
    pub audited: Vec<String>,
    /// Further flags of kube-apiserver.
    pub api_server_flags: Vec<String>,
}

impl Options {
    /// An API server on loopback with data below `dir`; controllers and scheduler only when asked for.
    pub fn loopback(assets: PathBuf, dir: PathBuf) -> Self {
        Self {
            assets,
            dir,
            netns: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            users: Vec::new(),
            controllers: false,
            audited: Vec::new(),
            api_server_flags: Vec::new(),
        }
    }

    /// The same for a test, or nothing and a loud line when the programs are not there.
    pub fn for_test(test: &str) -> Option<Self> {
        let Some(assets) = assets::find(assets::API) else {
            crate::skipped(
                test,
                "etcd and kube-apiserver: hack/control-plane.sh, or KUBEBUILDER_ASSETS",
            );
            return None;
        };
        Some(Self::loopback(assets, PathBuf::new()))
    }

    /// The same with controller manager and scheduler, for tests that need Deployments or namespaces to work.
    pub fn with_controllers(mut self) -> Option<Self> {
        if assets::ALL
            .iter()
            .all(|program| self.assets.join(program).is_file())
        {
            self.controllers = true;
            return Some(self);
        }
        crate::skipped(
            "with controllers",
            "kube-controller-manager and kube-scheduler: hack/control-plane.sh",
        );
        None
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Directory of programs, keys, logs.
    options: Options,
    identities: Identities,
    processes: Vec<Process>,
    /// etcd's ports: for clients, and for peers.
    etcd: (u16, u16),
    /// The directory, when it is ours to remove.
    scratch: Option<crate::state::Scratch>,
}

impl ControlPlane {
    /// Starts it and waits until the API server says it is ready. An empty `options.dir` means a directory of its own.
    pub async fn start(mut options: Options) -> Result<Self> {
        let mut scratch = None;
        if options.dir.as_os_str().is_empty() {
            let own = crate::state::Scratch::create("api")?;
            options.dir = own.dir().to_owned();
            scratch = Some(own);
        }
        let etcd_port = if options.netns.is_some() {
            2379
        } else {
            free_port()?
        };
        let peer_port = if options.netns.is_some() {
            2380
        } else {
            free_port()?
        };
        if options.port == 0 {
            options.port = free_port()?;
        }
        let mut addresses = vec![options.address];
        for more in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(API_SERVICE)] {
            if !addresses.contains(&more) {
                addresses.push(more);
            }
        }
        let users: Vec<User> = identity::components()
            .into_iter()
            .chain(options.users.iter().cloned())
            .collect();
        let identities = Identities::create(
            &options.dir.join("identities"),
            &addresses,
            options.port,
            &users,
        )?;
        let mut this = Self {
            options,
            identities,
            processes: Vec::new(),
            etcd: (etcd_port, peer_port),
            scratch,
        };
        if !this.options.audited.is_empty() {
            let policy = audit_policy(&this.options.audited);
            std::fs::write(this.options.dir.join(AUDIT_POLICY), policy)
                .context("writing the audit policy")?;
        }
        this.launch_api().await?;
        if this.options.controllers {
            this.launch("kube-controller-manager", this.controller_manager_flags())?;
            this.launch("kube-scheduler", this.scheduler_flags())?;
        }
        Ok(this)
    }

    /// A client with a user's rights.
    pub async fn client_as(&self, user: &str) -> Result<kube::Client> {
        client(&self.kubeconfig(user)).await
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        self.client_as("admin").await
    }

    /// The kubeconfig of a user: `admin`, `kube-proxy`, or one of [`Options::users`].
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.identities.kubeconfig(user)
    }

    /// Keys, certificates and kubeconfigs.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The port of the API server.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// What [`Options::audited`] asked of the API server, an `audit.k8s.io/v1` Event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.options.dir.join(AUDIT_LOG)
    }

    /// Where logs and data are.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// `kubectl` with the administrator's rights, in the control plane's namespace.
    pub fn kubectl(&self) -> Command {
        let mut command = crate::process::in_netns(
            self.options.netns.as_deref(),
            &self.options.assets.join("kubectl"),
        );
        command.arg("--kubeconfig").arg(self.kubeconfig("admin"));
        command
    }

    /// The processes, for a state file.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Leaves everything running when this value is dropped; the lab's state file then knows what there is.
    pub fn keep(&mut self) {
        self.processes.iter_mut().for_each(Process::keep);
        if let Some(scratch) = &mut self.scratch {
            scratch.keep();
        }
    }

    fn launch(&mut self, name: &str, args: Vec<String>) -> Result<()> {
        let process = Program {
            name: name.to_owned(),
            path: self.options.assets.join(name),
            args,
            env: Vec::new(),
            netns: self.options.netns.clone(),
            log: self.options.dir.join(format!("{name}.log")),
        }
        .start()?;
        if let Some(scratch) = &mut self.scratch {
            scratch.record(name, process.stamp())?;
        }
        self.processes.push(process);
        Ok(())
    }

    async fn launch_api(&mut self) -> Result<()> {
        let (port, peer_port) = self.etcd;
        self.launch("etcd", etcd_flags(&self.options.dir, port, peer_port))?;
        self.launch("kube-apiserver", self.api_server_flags(port))?;
        self.await_ready(Duration::from_secs(60)).await
    }

    async fn await_ready(&mut self, patience: Duration) -> Result<()> {
        let client = self.client().await?;
        let until = Instant::now() + patience;
        loop {
            for process in &mut self.processes {
                process.check()?;
            }
            // "" + "/" + "readyz": the path of a health check, in the words the client has for objects.
            let asked =
                kube::core::Request::new("").get("readyz", &kube::api::GetParams::default())?;
            let answer =
                tokio::time::timeout(Duration::from_secs(2), client.request_text(asked)).await;
            match answer {
                Ok(Ok(text)) if text == "ok" => return Ok(()),
                _ if Instant::now() >= until => {
                    anyhow::bail!(
                        "kube-apiserver was not ready within {patience:?}: {answer:?}; logs in {}",
                        self.options.dir.display()
                    )
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn api_server_flags(&self, etcd_port: u16) -> Vec<String> {
        let (options, keys) = (&self.options, &self.identities);
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
            format!("--bind-address={}", options.address),
            format!("--advertise-address={}", options.address),
            format!("--secure-port={}", options.port),
            format!("--tls-cert-file={}", keys.file("server.crt")),
            format!("--tls-private-key-file={}", keys.file("server.key")),
            format!("--token-auth-file={}", keys.tokens().display()),
            format!(
                "--service-account-key-file={}",
                keys.file("service-accounts.key")
            ),
            format!(
                "--service-account-signing-key-file={}",
                keys.file("service-accounts.key")
            ),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_CIDRS}"),
            format!(
                "--kubelet-client-certificate={}",
                keys.file("kubelet-client.crt")
            ),
            format!("--kubelet-client-key={}", keys.file("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--profiling=false".to_owned(),
        ];
        if options.netns.is_none() {
            // An API server that advertises a loopback address cannot make the endpoint of its own Service.
            flags.push("--endpoint-reconciler-type=none".to_owned());
        }
        if !options.controllers {
            // Nobody makes ServiceAccounts then, and a Pod without one would be refused.
            flags.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        if !options.audited.is_empty() {
            let file = |name| options.dir.join(name).display().to_string();
            flags.push(format!("--audit-policy-file={}", file(AUDIT_POLICY)));
            flags.push(format!("--audit-log-path={}", file(AUDIT_LOG)));
        }
        flags.extend(options.api_server_flags.iter().cloned());
        flags
    }

    fn controller_manager_flags(&self) -> Vec<String> {
        let config = self
            .kubeconfig("kube-controller-manager")
            .display()
            .to_string();
        vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            format!(
                "--service-account-private-key-file={}",
                self.identities.file("service-accounts.key")
            ),
            format!("--root-ca-file={}", self.identities.file("ca.crt")),
            format!("--cluster-cidr={POD_CIDRS}"),
            format!("--service-cluster-ip-range={SERVICE_CIDRS}"),
            "--allocate-node-cidrs".to_owned(),
            "--use-service-account-credentials".to_owned(),
            "--leader-elect=false".to_owned(),
            "--node-monitor-period=1s".to_owned(),
            "--node-monitor-grace-period=5s".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    fn scheduler_flags(&self) -> Vec<String> {
        let config = self.kubeconfig("kube-scheduler").display().to_string();
        vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }
}

/// Who asked for what, and with which outcome; not what was said. A watch is written once it is open.
fn audit_policy(users: &[String]) -> String {
    serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": users}, {"level": "None"}],
    })
    .to_string()
}

fn etcd_flags(dir: &Path, port: u16, peer_port: u16) -> Vec<String> {
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );
    vec![
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=error".to_owned(),
    ]
}

/// A client out of a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("understanding {}", kubeconfig.display()))?;
    kube::Client::try_from(config).context("making a client")
}

/// A port of loopback nobody listens on now. It is none of those the kernel hands out to whoever asks for any, so that
/// nobody else gets it before it is used.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS.len() {
        let turn = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(turn % u32::try_from(PORTS.len())?)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port of {PORTS:?} is free on loopback")
}
