//! The definition of pools, changed for a while and put back whatever happens.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Cluster, eventually};

const POOLS: &str = "loadbalancerippools.landfall.dev";
const PRIORITY: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/priority";

impl Cluster {
    /// Does something while the definition of pools takes any word for `priority`. Afterwards, and
    /// after a panic too, it is as strict as before, in word and in force: other tests share it.
    pub(crate) async fn while_priority_is_a_word<T>(&self, work: impl Future<Output = T>) -> T {
        let before = self.set_priority(json!({"type": "string"})).await;
        let result = AssertUnwindSafe(work).catch_unwind().await;
        self.set_priority(before).await;
        eventually("the strict definition is in force again", async || {
            let mut params = PatchParams::apply("test").force();
            params.dry_run = true;
            let word = json!({"blocks": [{"cidr": "203.0.113.0/30"}], "priority": "high"});
            match self.apply_pool("strict", word, &params).await {
                Ok(()) => Err("a word is taken".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Replaces what the definition says of `priority`; returns what it said.
    async fn set_priority(&self, schema: Value) -> Value {
        let crds = Api::<CustomResourceDefinition>::all(self.client.clone());
        let crd = serde_json::to_value(crds.get(POOLS).await.unwrap()).unwrap();
        let before = crd.pointer(PRIORITY).unwrap().clone();
        let patch = json!([{"op": "replace", "path": PRIORITY, "value": schema}]);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap());
        crds.patch(POOLS, &PatchParams::default(), &patch)
            .await
            .unwrap();
        before
    }
}
