use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::picture::Sight;

/// The documents of a file that cannot all be read: what can be, and the finding for what cannot.
fn of(name: &str, text: &str) -> String {
    match read(name, text) {
        Ok(documents) => draw(&check(&documents, None).unwrap()),
        Err(error) => format!("{}\n", Finding::unreadable(name, error)),
    }
}

#[test]
fn each_broken_manifest_names_its_mistake_by_object_field_and_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    let mut told = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let says = of(name, &fs::read_to_string(&file).unwrap());
        assert!(says.starts_with(['✗', '?']), "{name}: {says}");
        told.push_str(&says);
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_samples_and_the_manifests_of_the_demo_have_no_mistake() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in [
        "config/samples",
        "config/samples/gateways",
        "e2e/manifests/demo",
        "e2e/manifests/gateway",
    ] {
        for entry in fs::read_dir(tree.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // One of the demo's is refused there, too, and shows how.
            let is_manifest = path.extension().is_some_and(|ending| ending == "yaml");
            if !is_manifest || path.ends_with("refused.yaml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let found = check(&read("", &text).unwrap(), None).unwrap();
            assert!(
                found.findings.is_empty(),
                "{}: {}",
                path.display(),
                draw(&found)
            );
        }
    }
}

#[test]
fn whatever_the_api_server_accepts_or_refuses_is_accepted_or_refused_here() {
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        object: Value,
        from: Option<Value>,
        refused: Option<String>,
    }
    let cases: Vec<Case> =
        serde_saphyr::from_str(include_str!("../../../crds/tests/rules.yaml")).unwrap();
    for case in cases.into_iter().filter(|case| case.from.is_none()) {
        let mut value = case.object;
        value["apiVersion"] = json!("landfall.dev/v1alpha1");
        let document = Document {
            place: "here".to_owned(),
            value,
        };
        let found = check(&[document], None).unwrap();
        match case.refused {
            Some(message) => {
                let said = draw(&found);
                assert!(!found.well(), "{}: accepted", case.name);
                // The schema speaks before the rules, in words of its own.
                assert!(
                    said.contains(&message)
                        || said.contains("wanted")
                        || said.contains("; use ")
                        || said.contains("is missing")
                        || said.contains("is empty")
                        || said.contains("there is no such field"),
                    "{}: {said}",
                    case.name
                );
            }
            None => {
                let said = draw(&found);
                assert!(
                    found.well() || said.contains("lies before start"),
                    "{}: {said}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn in_a_cluster_its_pools_nodes_and_networks_count_too() {
    let pool = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool", "metadata": {"name": "old"},
        "spec": {"blocks": [{"cidr": "192.0.2.0/29"}]}});
    let node = json!({"metadata": {"name": "node-1"}, "spec": {"podCIDRs": ["192.0.2.128/25"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]}});
    let picture = Picture {
        pools: Sight::Seen(vec![serde_json::from_value(pool).unwrap()]),
        nodes: Sight::Seen(vec![serde_json::from_value(node).unwrap()]),
        ..Picture::default()
    };
    let text = "
apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: new}
spec: {blocks: [{cidr: 192.0.2.0/24}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {landfall.dev/ips: 198.51.100.7}}
spec: {type: LoadBalancer, ports: [{port: 80}]}
";
    let found = check(&read("new.yaml", text).unwrap(), Some(&picture)).unwrap();
    insta::assert_snapshot!(draw(&found));
}

#[test]
fn the_last_of_two_objects_of_one_name_is_told_of_the_first() {
    let text = "
apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: p}
spec: {blocks: [{cidr: 192.0.2.0/28}]}
---
apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: p}
spec: {blocks: [{cidr: 192.0.2.16/28}]}
";
    let said = of("p.yaml", text);
    assert!(
        said.contains(
            "p.yaml#2: LoadBalancerIPPool p: metadata.name: there is one of this name in p.yaml#1"
        ),
        "{said}"
    );
}

fn in_cluster(text: &str, picture: &Picture) -> String {
    draw(&check(&read("x.yaml", text).unwrap(), Some(picture)).unwrap())
}

#[test]
fn services_are_looked_at_in_the_namespace_that_is_meant_and_with_the_labels_of_the_file() {
    let text = "
apiVersion: v1
kind: Namespace
metadata: {name: blue, labels: {team: gold}}
---
apiVersion: landfall.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: p}
spec: {blocks: [{cidr: 192.0.2.0/28}], namespaceSelector: {matchLabels: {team: gold}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80}]}
";
    let says = |namespace: &str| {
        let mut documents = read("x.yaml", text).unwrap();
        place(&mut documents, namespace);
        draw(&check(&documents, Some(&Picture::default())).unwrap())
    };
    assert!(
        says("blue").starts_with("2 objects, no mistake"),
        "{}",
        says("blue")
    );
    assert!(
        says("green").contains("Service green/web: NoMatchingPool"),
        "{}",
        says("green")
    );
}

#[test]
fn a_manifest_is_laid_over_what_the_cluster_has_and_new_ones_have_its_families() {
    let pool = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool", "metadata": {"name": "six"},
        "spec": {"blocks": [{"cidr": "2001:db8::/120"}]}});
    let service = |namespace: &str, name: &str| {
        json!({"metadata": {"namespace": namespace, "name": name, "uid": "u"},
            "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv6"], "ports": [{"port": 80}]}})
    };
    let picture = Picture {
        pools: Sight::Seen(vec![serde_json::from_value(pool).unwrap()]),
        services: Sight::Seen(vec![
            serde_json::from_value(service("default", "kubernetes")).unwrap(),
            serde_json::from_value(service("blue", "old")).unwrap(),
        ]),
        ..Picture::default()
    };
    for name in ["old", "new"] {
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: blue}}, spec: {{type: LoadBalancer, ports: [{{port: 81}}]}}}}"
        );
        let says = in_cluster(&text, &picture);
        assert!(says.starts_with("1 object, no mistake"), "{name}: {says}");
    }
}

#[test]
fn two_services_of_one_file_are_not_both_promised_one_address() {
    let service = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: blue}}\nspec: {{type: LoadBalancer, ports: [{{port: 80}}]}}\n"
        )
    };
    let text = format!(
        "apiVersion: landfall.dev/v1alpha1\nkind: LoadBalancerIPPool\nmetadata: {{name: one}}\nspec: {{blocks: [{{start: 192.0.2.7}}]}}\n{}{}",
        service("a"),
        service("b")
    );
    let says = in_cluster(&text, &Picture::default());
    assert!(
        says.contains("Service blue/b: ") && !says.contains("Service blue/a: "),
        "{says}"
    );
}

#[test]
fn names_groups_and_notes_that_cannot_be_are_told_with_their_remedy() {
    for (text, says) in [
        (
            "{apiVersion: landfal.dev/v1alpha1, kind: LoadBalancerPool, metadata: {name: p}}",
            "is landfall.dev/v1alpha1 meant?",
        ),
        (
            "{apiVersion: landfall.dev/v1alpha1, kind: L2AnnouncementPolicy, metadata: {name: My_Policy}, spec: {}}",
            "is no name of an object",
        ),
        (
            "{apiVersion: landfall.dev/v1alpha1, kind: L2AnnouncementPolicy, metadata: {name: 123}, spec: {}}",
            "metadata.name: is 123, and text is wanted; put it in quotes",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: 9web}, spec: {}}",
            "is no name of a Service",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: w, annotations: {landfall.dev/x: 5}}, spec: {}}",
            "metadata.annotations: the annotation landfall.dev/x is 5, and text is wanted; put it in quotes",
        ),
        (
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service, metadata: {name: W}}]}]}",
            "is no name of a Service",
        ),
    ] {
        let found = of("x.yaml", text);
        assert!(found.contains(says), "{text}: {found}");
    }
}
