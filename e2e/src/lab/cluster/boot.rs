//! The nodes of a lab: started, told their pod ranges, given their power back.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use landfall_testbed::control_plane::assets;
use landfall_testbed::process::run;

use super::super::plan::{Cni, Machine};
use super::super::{node, power, sibling};
use super::{Lab, REGISTRATION, Size, kubeconfig, run_script};

/// The cluster's name server, which kubelets tell their Pods of.
const DNS: &str = "e2e/manifests/cluster/dns.yaml";
/// The CNI with an overlay.
const FLANNEL: &str = "e2e/manifests/cluster/flannel.yaml";

impl Lab {
    /// Starts the nodes. Their Node objects are there first, as when a machine's operator makes them: so the CNI knows
    /// the pod ranges before a kubelet looks for it, and the node is ready at once.
    pub(super) async fn boot(&mut self, size: &Size, images: &Path) -> Result<()> {
        let authority = self.authority()?;
        let nodes: Api<Node> = Api::all(self.client().await?);
        for machine in &self.plan.nodes {
            let node = Node {
                metadata: ObjectMeta {
                    name: Some(machine.name.clone()),
                    labels: size.labels.get(&machine.name).cloned(),
                    ..ObjectMeta::default()
                },
                ..Node::default()
            };
            let made = nodes.create(&PostParams::default(), &node).await;
            made.with_context(|| format!("making the Node {}", machine.name))?;
        }
        let ranges = self.routed_ranges().await?;
        for machine in self.plan.nodes.clone() {
            let own = ranges.iter().find(|(name, _)| *name == machine.name);
            let own = own.map_or(&[][..], |(_, ranges)| ranges);
            node::prepare(&self.plan, &machine, images, &authority, own)?;
            self.start_node(&machine)?;
        }
        if self.plan.network.cni == Cni::Flannel {
            self.apply(FLANNEL)?;
        }
        self.apply(DNS)
    }

    /// The pod ranges of all nodes, once there are routes to them.
    async fn routed_ranges(&mut self) -> Result<Vec<(String, Vec<String>)>> {
        let ranges = tokio::time::timeout(REGISTRATION, self.pod_ranges())
            .await
            .map_err(|_| anyhow::anyhow!("not every node got its pod ranges in time"))??;
        for script in self.plan.route_scripts(&ranges) {
            run_script(&script)?;
        }
        Ok(ranges)
    }

    /// Applies a manifest of the source tree.
    fn apply(&self, manifest: &str) -> Result<()> {
        let control_plane = self.control_plane.as_ref();
        let control_plane =
            control_plane.context("a lab that was found has its objects already")?;
        let mut kubectl = control_plane.kubectl();
        kubectl
            .arg("apply")
            .arg("-f")
            .arg(assets::source_tree().join(manifest));
        run(&mut kubectl).map(drop)
    }

    fn authority(&self) -> Result<PathBuf> {
        let control_plane = self.control_plane.as_ref();
        let control_plane = control_plane.context("a lab that was found has its nodes already")?;
        Ok(control_plane.identities().file("ca.crt").into())
    }

    fn start_node(&mut self, machine: &Machine) -> Result<()> {
        let plan = self.plan.clone();
        self.start(node::program(&plan, machine, |user| {
            kubeconfig(&plan, user)
        }))?;
        let process = self.processes.last_mut().context("just started")?;
        let init = node::first(process)?;
        if let Some(scratch) = &mut self.scratch {
            // Named as well, so that who takes the lab down waits until the last process of the node is gone.
            scratch.record(&format!("init of {}", machine.name), init)?;
        }
        Ok(())
    }

    /// Gives a node that failed its power back: its cables and what runs on it, as after a boot.
    pub fn revive_node(&mut self, node: &Machine) -> Result<()> {
        for interface in node.interfaces() {
            power::link(&self.plan, node, interface, true)?;
        }
        self.start_node(node)
    }
}

/// The images of the lab's nodes.
pub(super) fn images(size: &Size) -> Result<PathBuf> {
    let cni = (size.network.cni == Cni::Flannel).then_some("flannel");
    let others = size.images.iter().map(String::as_str);
    assets::images(&programs()?, cni.into_iter().chain(others))
}

/// Where the programs of this workspace are, which go into images.
fn programs() -> Result<PathBuf> {
    let echo = sibling("lab-echo")?;
    echo.parent()
        .map(Path::to_owned)
        .context("a program without a directory")
}
