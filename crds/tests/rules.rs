//! Every rule of the CRDs, offline; `e2e/tests/crds.rs` tries the same objects on a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use kube::CustomResourceExt as _;
use kube::core::cel::Validator;
use landfall_crds::{L2AnnouncementPolicy, L2Node, LoadBalancerIP, LoadBalancerIPPool};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    object: Value,
    from: Option<Value>,
    refused: Option<String>,
}

fn cases() -> Vec<Case> {
    serde_saphyr::from_str(include_str!("rules.yaml")).unwrap()
}

fn schema(kind: &str) -> Value {
    let crd = match kind {
        "LoadBalancerIPPool" => LoadBalancerIPPool::crd(),
        "LoadBalancerIP" => LoadBalancerIP::crd(),
        "L2AnnouncementPolicy" => L2AnnouncementPolicy::crd(),
        "L2Node" => L2Node::crd(),
        other => panic!("unknown kind {other}"),
    };
    serde_json::to_value(
        &crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema,
    )
    .unwrap()
}

#[test]
fn every_object_is_accepted_or_refused_with_the_message_it_deserves() {
    for case in cases() {
        let schema = schema(case.object["kind"].as_str().unwrap());
        let result = Validator::new().validate(&schema, &case.object, case.from.as_ref());
        match (result, &case.refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(message)) => panic!("{}: accepted, want {message:?}", case.name),
            (Err(errors), None) => panic!("{}: refused: {errors:?}", case.name),
            (Err(errors), Some(message)) => {
                let said = format!("{errors:?}");
                assert!(
                    said.contains(message.as_str()),
                    "{}: said {said}, want {message:?}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn every_rule_refuses_at_least_one_object() {
    let cases = cases();
    for crd in landfall_crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut messages = Vec::new();
        collect_messages(&schema, &mut messages);
        assert!(
            !messages.is_empty(),
            "{}: no rules found",
            crd.spec.names.kind
        );
        for message in messages {
            let tried = cases.iter().any(|c| {
                c.object["kind"] == crd.spec.names.kind
                    && c.refused
                        .as_ref()
                        .is_some_and(|r| message.contains(r.as_str()))
            });
            assert!(
                tried,
                "{}: nothing tries the rule {message:?}",
                crd.spec.names.kind
            );
        }
    }
}

fn collect_messages(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Array(rules)) = map.get("x-kubernetes-validations") {
                into.extend(
                    rules
                        .iter()
                        .map(|rule| rule["message"].as_str().unwrap().to_owned()),
                );
            }
            map.values().for_each(|value| collect_messages(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_messages(value, into)),
        _ => {}
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/crd");
    for crd in landfall_crds::all() {
        let path = format!("{dir}/{}.yaml", crd.spec.names.plural);
        let committed: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            committed,
            serde_json::to_value(&crd).unwrap(),
            "{path} is stale: run `make generate`"
        );
    }
}
