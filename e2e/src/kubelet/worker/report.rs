//! Writes the Pod's status when it changed.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;

use super::Worker;
use crate::kubelet::{
    state::Sandbox,
    status::{self, Seen},
};

const LIMIT: Duration = Duration::from_secs(3);

impl Worker {
    /// Reports, unless there is nothing new or nobody to report to. A report that fails is made again with the next.
    pub(super) async fn report(&mut self) {
        let never_ran_here = self.state.sandbox == Sandbox::Gone && self.reported.is_none();
        let gone = self.over.is_some() || self.forgotten;
        if gone || never_ran_here {
            return;
        }
        let status = status::build(&Seen {
            pod: &self.pod,
            goal: &self.goal(),
            state: &self.state,
            addresses: &self.addresses,
            started: self.started,
            wall: Timestamp::now(),
            reported: self.reported.as_ref(),
        });
        let known = self.reported.as_ref() == Some(&status);
        if known && status::shown_as_reported(&self.pod, &status) {
            return;
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.id.namespace);
        // The uid makes the patch miss another Pod of the same name.
        let patch = Patch::Merge(json!({"metadata": {"uid": self.id.uid}, "status": status}));
        let params = PatchParams::default();
        let written = api.patch_status(&self.id.name, &params, &patch);
        self.unreported = true;
        match timeout(LIMIT, written).await {
            Ok(Ok(pod)) => {
                self.unreported = false;
                // Later transitions are measured against what was just written.
                self.pod = std::sync::Arc::new(pod);
                self.reported = Some(status);
            }
            // Its end is about to be told by the watch.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {}
            Ok(Err(error)) => warn!(pod = %self.id, "report: {error}"),
            Err(_) => warn!(pod = %self.id, "report: no answer"),
        }
    }
}
