//! What is done to the announcer of a node: its Pod is deleted, or its process killed.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use super::manifests;
use super::stage::Stage;
use crate::picture::{ANNOUNCER, NAMESPACE};

impl Stage<'_> {
    /// Deletes the Pod of the announcer of a node, which is told to end and hands over; returns when its successor is
    /// ready.
    pub(super) async fn replace_announcer(&self, node: &str) -> anyhow::Result<Result<(), String>> {
        let Some(old) = self.announcer(node).await? else {
            return Ok(Err(format!("no announcer runs on {node}")));
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        pods.delete(&old.name_any(), &DeleteParams::default().grace_period(0))
            .await
            .with_context(|| format!("deleting the announcer's Pod {}", old.name_any()))?;
        self.comes_again(node, |pod| pod.uid() != old.uid()).await
    }

    /// Kills the process of the announcer of a node, which gets to nothing; returns when its container runs again.
    pub(super) async fn crash_announcer(
        &self,
        image: &str,
        node: &str,
    ) -> anyhow::Result<Result<(), String>> {
        let Some(old) = self.announcer(node).await? else {
            return Ok(Err(format!("no announcer runs on {node}")));
        };
        let uid = old.uid().unwrap_or_default();
        if let Err(why) = self.errand(&manifests::killer(image, node, &uid)).await? {
            return Ok(Err(format!(
                "the announcer of {node} was not killed: {why}"
            )));
        }
        let before = restarts(&old);
        self.comes_again(node, |pod| pod.uid() != old.uid() || restarts(pod) > before)
            .await
    }

    async fn announcer(&self, node: &str) -> anyhow::Result<Option<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        Ok(pods.list(&of(node)).await?.items.into_iter().next())
    }

    async fn comes_again(
        &self,
        node: &str,
        is_successor: impl Fn(&Pod) -> bool,
    ) -> anyhow::Result<Result<(), String>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        self.until(async || {
            let now = pods.list(&of(node)).await?.items;
            let successor = now.iter().any(|pod| is_successor(pod) && is_ready(pod));
            Ok(match successor {
                true => Ok(()),
                false => Err(format!("no announcer is ready on {node} again")),
            })
        })
        .await
    }
}

/// What selects the announcer of a node.
fn of(node: &str) -> ListParams {
    ListParams::default()
        .labels(&format!("app.kubernetes.io/name={ANNOUNCER}"))
        .fields(&format!("spec.nodeName={node}"))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
