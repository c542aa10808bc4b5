//! What the API server says of objects beyond the limits of their schema: as the page of refusals
//! has it.

use kube::Api;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject};
use landfall_crds::{L2AnnouncementPolicy, LoadBalancerIP, LoadBalancerIPPool};
use serde_json::json;

use crate::limits_of_schemas::{definitions, limits};
use crate::support::Cluster;

#[tokio::test]
async fn the_api_server_refuses_what_is_beyond_a_limit_in_the_words_of_the_page() {
    let cluster = cluster!(the_api_server_refuses_what_is_beyond_a_limit_in_the_words_of_the_page);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut wrong = Vec::new();
    for limit in definitions().iter().flat_map(limits) {
        let resource = match limit.kind.as_str() {
            "LoadBalancerIPPool" => ApiResource::erase::<LoadBalancerIPPool>(&()),
            "LoadBalancerIP" => ApiResource::erase::<LoadBalancerIP>(&()),
            _ => ApiResource::erase::<L2AnnouncementPolicy>(&()),
        };
        let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
        let object = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": limit.kind,
            "metadata": {"name": "192-0-2-1"}, "spec": limit.spec,
        });
        let object = serde_json::from_value(object).unwrap();
        let answer = api.create(&params, &object).await;
        let said = match answer {
            Ok(_) => "nothing".to_owned(),
            Err(kube::Error::Api(status)) => status.message.clone(),
            Err(other) => other.to_string(),
        };
        if !said.contains(&limit.message) {
            let (kind, place, message) = (limit.kind, limit.place, limit.message);
            wrong.push(format!("{kind} {place}: {said}; not {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
