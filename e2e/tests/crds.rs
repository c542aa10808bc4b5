//! The definitions on a real API server: it takes them, and its verdict on every object of
//! `crds/tests/rules.yaml` is the one that the rules give offline.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt as _};
use landfall_testbed::control_plane::{ControlPlane, Options};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    object: serde_json::Value,
    from: Option<serde_json::Value>,
    refused: Option<String>,
}

async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for crd in landfall_crds::all() {
        let name = crd.name_any();
        api.create(&PostParams::default(), &crd).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .unwrap()
            .unwrap();
    }
}

async fn apply(client: &Client, object: &serde_json::Value) -> Result<(), kube::Error> {
    let kind = object["kind"].as_str().unwrap();
    let crd = landfall_crds::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let gvk = GroupVersionKind::gvk(landfall_crds::GROUP, "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &crd.spec.names.plural);
    let mut object = object.clone();
    object["apiVersion"] = "landfall.dev/v1alpha1".into();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&object))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_real_api_server_gives_every_object_the_verdict_of_the_rules() {
    let Some(options) =
        Options::for_test("a_real_api_server_gives_every_object_the_verdict_of_the_rules")
    else {
        return;
    };
    let cluster = ControlPlane::start(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    install(&client).await;

    let cases: Vec<Case> =
        serde_saphyr::from_str(include_str!("../../crds/tests/rules.yaml")).unwrap();
    for case in cases {
        if let Some(from) = &case.from {
            apply(&client, from).await.unwrap();
        }
        match (apply(&client, &case.object).await, &case.refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(message)) => panic!("{}: accepted, want {message:?}", case.name),
            (Err(error), None) => panic!("{}: refused: {error}", case.name),
            (Err(error), Some(message)) => {
                let said = error.to_string();
                assert!(
                    said.contains(message.as_str()),
                    "{}: said {said}, want {message:?}",
                    case.name
                );
            }
        }
    }
}
