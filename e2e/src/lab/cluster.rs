//! Building a lab: namespaces and links, the control plane in the hub; and finding one. [`boot`]: its nodes.

mod boot;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::plan::{API_PORT, API_SERVER, Network, Plan, Script};
use super::{evidence, preflight, sibling};
use crate::rights::Account;
use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use landfall_testbed::control_plane::identity::User;
use landfall_testbed::control_plane::{ControlPlane, Options, assets};
use landfall_testbed::netns;
use landfall_testbed::process::{Process, Program, Stamp, in_netns};
use landfall_testbed::state::{Scratch, State};

/// A node that has not registered or become ready by then never will.
const REGISTRATION: Duration = Duration::from_secs(60);

/// How large a lab is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Nodes.
    pub nodes: u8,
    /// Clients.
    pub clients: u8,
    /// Labels of nodes, beside those a kubelet gives.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// What carries Pods' packets and serves ClusterIPs.
    pub network: Network,
    /// Images that nodes have beside those that all have.
    pub images: BTreeSet<String>,
    /// ServiceAccounts, `NAMESPACE/NAME`, whose requests the API server writes down.
    pub audited: BTreeSet<String>,
}

/// A lab that is up. Dropping it takes it down, unless it was kept or belongs to somebody else.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    // In the order of dropping: nodes, then the control plane, then namespaces and files.
    processes: Vec<Process>,
    control_plane: Option<ControlPlane>,
    scratch: Option<Scratch>,
}

impl Lab {
    /// Builds a lab. The calling thread is in the hub's network namespace afterwards, for good, so that it reaches the
    /// API server; run it on a runtime of one thread. `say` hears of every stage.
    pub async fn up(size: &Size, say: &mut dyn FnMut(&str)) -> Result<Self> {
        preflight::check()?;
        let programs = assets::ensure()?;
        // Here, where what they are made of can be fetched: a lab leads nowhere.
        let images = boot::images(size)?;
        let scratch = Scratch::create("lab")?;
        let mut plan = Plan::new(
            scratch.id(),
            scratch.dir().to_owned(),
            programs,
            size.nodes,
            size.clients,
        )?;
        plan.network = size.network;
        let mut lab = Self {
            plan,
            processes: Vec::new(),
            control_plane: None,
            scratch: Some(scratch),
        };
        match Box::pin(lab.build(size, &images, say)).await {
            Ok(()) => Ok(lab),
            Err(error) => {
                let logs = evidence::keep(&lab.plan, "up").map_or_else(
                    |lost| format!("lost ({lost:#})"),
                    |dir| format!("in {}", dir.display()),
                );
                Err(error.context(format!("the lab did not come up; its logs are {logs}")))
            }
        }
    }

    async fn build(&mut self, size: &Size, images: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
        self.note()?;
        say(&format!(
            "lab {}: {} nodes and {} clients as network namespaces",
            self.plan.id, size.nodes, size.clients
        ));
        self.build_links()?;
        netns::enter(&self.plan.hub)?;
        say("etcd, kube-apiserver, kube-controller-manager, kube-scheduler");
        self.start_control_plane(&size.audited).await?;
        say("containerd, a kubelet and a kube-proxy on every node");
        self.boot(size, images).await?;
        tokio::time::timeout(REGISTRATION, self.await_ready_nodes())
            .await
            .map_err(|_| anyhow::anyhow!("not every node became ready in time"))?
    }

    /// A lab that somebody left up, or a cluster that is no lab of ours; dropping this value changes nothing.
    pub fn attach(plan: Plan) -> Result<Self> {
        netns::enter(&plan.hub)?;
        Ok(Self {
            plan,
            processes: Vec::new(),
            control_plane: None,
            scratch: None,
        })
    }

    /// Gives nodes labels, node by node.
    pub async fn label(&self, labels: &BTreeMap<String, BTreeMap<String, String>>) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        for (name, labels) in labels {
            let patch = serde_json::json!({"metadata": {"labels": labels}});
            let labelled = nodes
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            labelled.with_context(|| format!("labelling the Node {name}"))?;
        }
        Ok(())
    }

    /// Names and addresses.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A kubeconfig for use inside the hub.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        kubeconfig(&self.plan, user)
    }

    /// The API server's process, of a lab that this value built.
    pub fn api_server(&self) -> Result<Stamp> {
        let processes = self.control_plane.iter().flat_map(ControlPlane::processes);
        let mut stamps = processes
            .filter(|process| process.name == "kube-apiserver")
            .map(Process::stamp);
        stamps
            .next()
            .context("a lab that somebody else built, or without an API server")
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        landfall_testbed::control_plane::client(&self.kubeconfig("admin")).await
    }

    /// Leaves the lab up: it is `lab down`'s from now on. Returns a kubeconfig that works outside of the lab's namespaces.
    pub fn keep(&mut self, outside: &Path) -> Result<PathBuf> {
        let port = 20_000
            + u16::from_str_radix(&self.plan.id, 16).context("the lab's identifier")? % 10_000;
        let forwarder = Program {
            name: "forward".into(),
            path: sibling("lab")?,
            args: vec![
                "forward".into(),
                format!("--hub={}", self.plan.hub),
                format!("--port={port}"),
            ],
            env: Vec::new(),
            netns: Some(outside.display().to_string()),
            log: self.plan.dir.join("forward.log"),
        };
        let log = forwarder.log.clone();
        self.start(forwarder)?;
        // It enters the namespace that this process holds open, so it must have done that before this process ends.
        while !fs::read_to_string(&log).is_ok_and(|text| text.contains(super::forward::READY)) {
            self.check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        self.plan.forwarded = Some(port);
        self.note()?;
        let identities = landfall_testbed::control_plane::identity::Identities {
            dir: self.plan.dir.join("control-plane/identities"),
        };
        let file = identities.write_kubeconfig_at(
            "admin",
            "outside",
            &format!("https://127.0.0.1:{port}"),
        )?;
        self.processes.iter_mut().for_each(Process::keep);
        if let Some(control_plane) = &mut self.control_plane {
            control_plane.keep();
        }
        if let Some(scratch) = &mut self.scratch {
            scratch.keep();
        }
        Ok(file)
    }

    /// Fails with the end of its log if a process of the lab has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    fn note(&mut self) -> Result<()> {
        let Some(scratch) = &mut self.scratch else {
            return Ok(());
        };
        let plan = &self.plan;
        let cgroup = plan.cgroup();
        let value = serde_json::to_value(plan)?;
        scratch.update(|state| {
            state.namespace_prefix = plan.namespace_prefix();
            state.cgroup = cgroup;
            state.plan = value;
        })
    }

    fn build_links(&self) -> Result<()> {
        for name in self.plan.namespaces() {
            netns::add(name)?;
        }
        self.plan.scripts().iter().try_for_each(run_script)
    }

    async fn start_control_plane(&mut self, audited: &BTreeSet<String>) -> Result<()> {
        let dir = self.plan.dir.join("control-plane");
        fs::create_dir_all(&dir).context("making the control plane's directory")?;
        let mut options = Options::loopback(self.plan.assets.clone(), dir);
        options.netns = Some(self.plan.hub.clone());
        options.address = IpAddr::V4(API_SERVER);
        options.port = API_PORT;
        options.controllers = true;
        options.users = self
            .plan
            .nodes
            .iter()
            .map(|node| User::kubelet(&node.name))
            .collect();
        for account in audited {
            let account = Account::parse(account).map_err(anyhow::Error::msg)?;
            options.audited.push(account.user());
        }
        let control_plane = ControlPlane::start(options).await?;
        for process in control_plane.processes() {
            if let Some(scratch) = &mut self.scratch {
                scratch.record(&process.name, process.stamp())?;
            }
        }
        self.control_plane = Some(control_plane);
        Ok(())
    }

    fn start(&mut self, program: Program) -> Result<()> {
        let process = program.start()?;
        if let Some(scratch) = &mut self.scratch {
            scratch.record(&process.name, process.stamp())?;
        }
        self.processes.push(process);
        Ok(())
    }

    /// The pod ranges of all nodes, as soon as the controller manager has given each one hers.
    async fn pod_ranges(&mut self) -> Result<Vec<(String, Vec<String>)>> {
        self.await_nodes(|node| {
            let ranges = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone())?;
            Some((node.metadata.name.clone()?, ranges))
        })
        .await
    }

    async fn await_ready_nodes(&mut self) -> Result<()> {
        self.await_nodes(|node| {
            let conditions = node.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
                .then_some(())
        })
        .await
        .map(drop)
    }

    /// What `wanted` finds in every Node, once it finds it in all of them.
    async fn await_nodes<T>(&mut self, wanted: impl Fn(&Node) -> Option<T>) -> Result<Vec<T>> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        let mut known: BTreeMap<String, Node> = BTreeMap::new();
        let mut changes = Box::pin(
            watcher(nodes, watcher::Config::default())
                .default_backoff()
                .applied_objects(),
        );
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                change = changes.try_next() => {
                    if let Ok(Some(node)) = change {
                        known.insert(node.metadata.name.clone().unwrap_or_default(), node);
                    }
                }
                _ = tick.tick() => self.check()?,
            }
            let found: Vec<T> = known.values().filter_map(&wanted).collect();
            if found.len() == self.plan.nodes.len() {
                return Ok(found);
            }
        }
    }
}

/// The plan in a state file.
pub fn plan_of(state: &State) -> Result<Plan> {
    ensure!(
        state.kind == "lab",
        "{} is no lab but a test's control plane",
        state.id
    );
    serde_json::from_value(state.plan.clone())
        .with_context(|| format!("reading the plan of lab {}", state.id))
}

/// The plan in a file: of a cluster that is no lab of ours, but is made up like one.
pub fn plan_in(file: &Path) -> Result<Plan> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no plan of a lab", file.display()))
}

/// The lab that is meant: the named one, or the only one.
pub fn find(id: Option<&str>) -> Result<(PathBuf, State)> {
    let mut labs: Vec<(PathBuf, State)> = landfall_testbed::state::list()
        .into_iter()
        .filter(|(_, state)| state.kind == "lab")
        .collect();
    if let Some(id) = id {
        labs.retain(|(_, state)| state.id == id);
    }
    match (labs.pop(), labs.is_empty()) {
        (Some(lab), true) => Ok(lab),
        (None, _) => bail!(
            "there is no {}lab; start one with: lab up",
            id.map(|id| format!("{id} ")).unwrap_or_default()
        ),
        (Some(last), false) => {
            let names: Vec<&str> = labs
                .iter()
                .chain([&last])
                .map(|(_, state)| state.id.as_str())
                .collect();
            bail!(
                "there are several labs ({}); name one with --id",
                names.join(", ")
            )
        }
    }
}

/// The kubeconfig of a user of a lab, for use inside the hub.
pub fn kubeconfig(plan: &Plan, user: &str) -> PathBuf {
    plan.dir
        .join("control-plane/identities")
        .join(format!("{user}.kubeconfig"))
}

fn run_script(script: &Script) -> Result<()> {
    let mut child = in_netns(Some(&script.netns), Path::new("sh"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting a shell")?;
    child
        .stdin
        .take()
        .context("the shell's input")?
        .write_all(script.text.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "building {} failed: {}\n{}",
        script.netns,
        String::from_utf8_lossy(&output.stderr).trim(),
        script.text
    );
    Ok(())
}
