//! What a removal takes away, in which order. Pure.
//!
//! The order matters: policies first, so that addresses fall silent while somebody can still say so; announcers before
//! their programs, which they would put back; the controller before the finalizers and conditions, which it would write
//! again; definitions last, because they take the records with them.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt as _;
use landfall_crds::conditions::{ADDRESS_ASSIGNED, SERVICE_ANNOUNCED};
use landfall_crds::gateway_api::{CONTROLLER, GATEWAYS_EXIST, GatewayClass};
use landfall_crds::{LoadBalancerIP, ServiceKey};
use serde::Serialize;
use serde_json::{Value, json};

use crate::manifests::{Choice, manifests};
use crate::picture::{ANNOUNCER, NAMESPACE, Picture, sessions};
use crate::settings::container;
use crate::status::tag;
use crate::words::plain;

/// The conditions that Landfall writes on Services.
const CONDITIONS: [&str; 2] = [ADDRESS_ASSIGNED, SERVICE_ANNOUNCED];

/// The label of the Pods that take programs off nodes.
pub(super) const SWEEPER: (&str, &str) = ("app.kubernetes.io/name", "landfall-remove-programs");

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) policies: Vec<String>,
    pub(super) pools: usize,
    /// GatewayClasses that a finalizer of ours holds.
    pub(super) classes: usize,
    /// Addresses with a holder: they will be nobody's, and answered by nobody.
    pub(super) held: usize,
    pub(super) kept: usize,
    /// Services that carry conditions of ours.
    pub(super) marked: usize,
    /// Where announcers ran.
    pub(super) nodes: Vec<String>,
    /// What goes last, by kind and name.
    pub(super) objects: Vec<String>,
    /// What carries our label and is not ours.
    pub(super) left_alone: Vec<String>,
}

pub(super) fn plan(picture: &Picture) -> Plan {
    let names = |all: &[landfall_crds::L2AnnouncementPolicy]| {
        let names = all.iter().map(kube::ResourceExt::name_any);
        names.collect()
    };
    let records = picture.records.all();
    let held = records
        .iter()
        .filter(|record| !record.spec.holders.is_empty());
    let held = held.count();
    let nodes = ran_on(picture).into_iter().map(Node::name_any).collect();
    Plan {
        policies: names(picture.policies.all()),
        pools: picture.pools.all().len(),
        classes: held_classes(picture).len(),
        held,
        kept: records.len() - held,
        marked: picture
            .services
            .all()
            .iter()
            .filter(|service| is_marked(service))
            .count(),
        nodes,
        ..Plan::default()
    }
}

/// The nodes on which announcers ran, as their Pods and their sessions say. Where neither is left, it may have been any.
pub(super) fn ran_on(picture: &Picture) -> Vec<&Node> {
    if announcer(picture).is_none() {
        return Vec::new();
    }
    let label = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(SWEEPER.0))
            .map(String::as_str)
            == Some(ANNOUNCER)
    };
    let pods = picture.pods.all().iter().filter(label);
    let mut names: BTreeSet<String> = pods
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    names.extend(sessions(picture.leases.all()).into_keys());
    let nodes = picture.nodes.all().iter();
    if names.is_empty() && picture.announcer().is_none() {
        return nodes.collect();
    }
    nodes
        .filter(|node| names.contains(&node.name_any()))
        .collect()
}

impl Plan {
    /// What will be done, for who has to agree.
    pub(super) fn draw(&self, release: bool) -> String {
        let mut steps = vec![
            format!(
                "policies {}, and wait until no node answers any more",
                if self.policies.is_empty() {
                    "(none)".to_owned()
                } else {
                    self.policies.join(", ")
                }
            ),
            format!(
                "the announcers, and their XDP programs and pins on {} nodes",
                self.nodes.len()
            ),
            "the controller".to_owned(),
            format!("the conditions landfall.dev/… of {} Services", self.marked),
            format!("{} pools and the finalizers that hold them", self.pools),
            format!(
                "the definitions, and with them {} records of addresses in use and {} of addresses kept: \
                 nothing remembers then who had which",
                self.held, self.kept
            ),
            format!(
                "rights, admission policies and the namespace {NAMESPACE} with all that is in it"
            ),
        ];
        if self.classes > 0 {
            let step = format!(
                "the finalizers that hold {} GatewayClasses in use",
                self.classes
            );
            steps.insert(5, step);
        }
        if release {
            steps.insert(
                4,
                "the addresses in the status of these Services".to_owned(),
            );
        }
        let mut out = "This goes, in this order:\n".to_owned();
        for (at, step) in steps.iter().enumerate() {
            out.push_str(&format!("  {}. {step}\n", at + 1));
        }
        if !self.objects.is_empty() {
            out.push_str("The last steps take these objects:\n");
        }
        for object in &self.objects {
            out.push_str(&format!("  - {}\n", plain(object)));
        }
        for other in &self.left_alone {
            out.push_str(&format!("note: {}\n", plain(other)));
        }
        if !release {
            out.push_str("Services keep the address in their status, for who serves them next; --release-addresses empties it.\n");
        }
        out
    }
}

/// Whether a Service carries a condition of ours.
pub(super) fn is_marked(service: &Service) -> bool {
    let conditions = service
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| CONDITIONS.contains(&&*condition.type_))
}

/// The strategic merge that takes our conditions off a Service: by their key, so that no other writer is in the way; and,
/// where it is wanted, what stands in its addresses.
pub(super) fn unmark(release: bool) -> Value {
    let conditions: Vec<Value> = CONDITIONS
        .iter()
        .map(|type_| json!({"type": type_, "$patch": "delete"}))
        .collect();
    let mut status = json!({ "conditions": conditions });
    if release {
        status["loadBalancer"] = json!({"ingress": null});
    }
    json!({ "status": status })
}

/// The Services whose addresses a record has: the only ones to be emptied.
pub(super) fn holders(records: &[LoadBalancerIP]) -> Vec<ServiceKey> {
    let holders = records.iter().flat_map(|record| &record.spec.holders);
    let services = holders.filter(|holder| holder.kind == "Service");
    services
        .map(|holder| ServiceKey::new(&*holder.namespace, &*holder.name))
        .collect()
}

/// The finalizers that an object keeps: all but ours.
pub(super) fn others_finalizers(finalizers: &[String], ours: &str) -> Vec<String> {
    let others = finalizers.iter().filter(|name| *name != ours);
    others.cloned().collect()
}

/// The GatewayClasses of Landfall that a finalizer holds.
pub(super) fn held_classes(picture: &Picture) -> Vec<&GatewayClass> {
    let is_held = |class: &&GatewayClass| {
        class.spec.controller_name == CONTROLLER
            && class.finalizers().iter().any(|name| name == GATEWAYS_EXIST)
    };
    picture
        .gateway_classes
        .all()
        .iter()
        .filter(is_held)
        .collect()
}

/// Why somebody still answers, or nothing.
pub(super) fn still_answered(records: &[LoadBalancerIP]) -> Option<String> {
    let owned = records.iter().filter(|record| {
        let status = record.status.as_ref();
        status.is_some_and(|status| status.owner.is_some())
    });
    match owned.count() {
        0 => None,
        1 => Some("1 address is still answered for".to_owned()),
        many => Some(format!("{many} addresses are still answered for")),
    }
}

/// The announcers as they ran. Where a removal was interrupted after they went, as they must have run: beside the
/// controller that is still there.
pub(super) fn announcer(picture: &Picture) -> Option<DaemonSet> {
    if let Some(found) = picture.announcer() {
        return Some(found.clone());
    }
    let controller = picture.controller()?;
    let image = container(controller)?.image.as_deref()?;
    let choice = Choice {
        tag: tag(image).map(str::to_owned),
        ..Choice::of(Some(controller), None)
    };
    let all = manifests(&choice).ok()?;
    let found = all.iter().find(|manifest| manifest.kind() == "DaemonSet")?;
    serde_json::from_value(found.value.clone()).ok()
}

/// The Pod that takes the programs off one node: the announcer's own, told to do that alone.
pub(super) fn sweeper(announcer: &DaemonSet, node: &str) -> Option<Value> {
    let spec = announcer.spec.as_ref()?.template.spec.as_ref()?;
    let mut spec = serde_json::to_value(spec).ok()?;
    spec["nodeName"] = node.into();
    // It is told its node. A kubelet turns away what would not have been scheduled there, and the announcers' own choice of
    // nodes may have been another when this one ran.
    for field in ["nodeSelector", "affinity", "topologySpreadConstraints"] {
        spec.as_object_mut()?.remove(field);
    }
    spec["restartPolicy"] = "OnFailure".into();
    spec["automountServiceAccountToken"] = false.into();
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    let container = spec.pointer_mut("/containers/0")?.as_object_mut()?;
    for probe in ["livenessProbe", "readinessProbe", "startupProbe", "ports"] {
        container.remove(probe);
    }
    let mut args = vec![json!("--remove-programs")];
    // Where the pins are may have been chosen.
    let chosen = container
        .get("args")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let chosen = chosen.filter(|arg| {
        arg.as_str()
            .is_some_and(|arg| arg.starts_with("--bpf-pin-dir="))
    });
    args.extend(chosen.cloned());
    container.insert("args".to_owned(), args.into());
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{}-{node}", SWEEPER.1),
            "namespace": NAMESPACE,
            "labels": { SWEEPER.0: SWEEPER.1, "app.kubernetes.io/part-of": "landfall" },
        },
        "spec": spec,
    }))
}

/// What is to be done by hand on a node that could not be reached.
pub(super) fn by_hand(nodes: &[String]) -> String {
    format!(
        "Not reached: {}. Where {ANNOUNCER} ran with XDP on them, their programs stay pinned: on each, \
         rm -r /sys/fs/bpf/landfall (before Linux 6.6 see docs/how-to/remove.md, too).",
        nodes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use landfall_crds::DRAIN_FINALIZER;

    use crate::picture::Sight;

    use super::*;

    fn of_the_manifests(kind: &str) -> Value {
        let choice = Choice {
            registry: Some("registry.example.org/lf".to_owned()),
            tag: Some("7".to_owned()),
            ..Choice::default()
        };
        let all = manifests(&choice).unwrap();
        let found = all.iter().find(|manifest| manifest.kind() == kind);
        found.unwrap().value.clone()
    }

    fn daemon_set() -> DaemonSet {
        serde_json::from_value(of_the_manifests("DaemonSet")).unwrap()
    }

    #[test]
    fn where_the_announcers_went_already_they_are_known_by_the_controller_beside_them() {
        let deployment = serde_json::from_value(of_the_manifests("Deployment")).unwrap();
        let picture = Picture {
            deployments: Sight::Seen(vec![deployment]),
            ..Picture::default()
        };
        let found = announcer(&picture).unwrap();
        assert_eq!(
            serde_json::to_value(&found).unwrap(),
            serde_json::to_value(daemon_set()).unwrap()
        );
        assert_eq!(announcer(&Picture::default()), None);
    }

    #[test]
    fn what_sweeps_a_node_is_the_announcer_told_to_do_that_alone() {
        let pod = sweeper(&daemon_set(), "node-1").unwrap();
        insta::assert_yaml_snapshot!(pod);
    }

    #[test]
    fn a_node_is_swept_whatever_nodes_the_announcers_would_choose_now() {
        let mut chosen = of_the_manifests("DaemonSet");
        chosen["spec"]["template"]["spec"]["nodeSelector"] = json!({"edge": "true"});
        chosen["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
        let pod = sweeper(&serde_json::from_value(chosen).unwrap(), "node-1").unwrap();
        assert!(pod["spec"].get("nodeSelector").is_none() && pod["spec"].get("affinity").is_none());
        assert_eq!(pod["spec"]["nodeName"], "node-1");
    }

    #[test]
    fn only_nodes_on_which_an_announcer_ran_are_swept() {
        let node =
            |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let pod = json!({"metadata": {"name": "p", "labels": {"app.kubernetes.io/name": "landfall-announcer"}},
            "spec": {"nodeName": "node-1", "containers": []}});
        let lease =
            json!({"metadata": {"name": "announcer-node-2"}, "spec": {"holderIdentity": ""}});
        let mut picture = Picture {
            daemon_sets: Sight::Seen(vec![daemon_set()]),
            nodes: Sight::Seen(["node-1", "node-2", "node-3"].map(node).to_vec()),
            pods: Sight::Seen(vec![serde_json::from_value(pod).unwrap()]),
            leases: Sight::Seen(vec![serde_json::from_value(lease).unwrap()]),
            ..Picture::default()
        };
        assert_eq!(plan(&picture).nodes, ["node-1", "node-2"]);
        (picture.pods, picture.leases) = Default::default();
        assert!(plan(&picture).nodes.is_empty());
        // Interrupted after they went: it may have been any.
        picture.daemon_sets = Sight::default();
        let deployment = serde_json::from_value(of_the_manifests("Deployment")).unwrap();
        picture.deployments = Sight::Seen(vec![deployment]);
        assert_eq!(plan(&picture).nodes.len(), 3);
    }

    #[test]
    fn the_plan_says_what_goes_in_which_order() {
        let service = json!({"metadata": {"name": "web", "namespace": "blue"}, "status": {"conditions": [
            {"type": "landfall.dev/Announced", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let record = |address: &str, holders: Value| {
            serde_json::from_value(
                json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
                "metadata": {"name": address}, "spec": {"address": address, "holders": holders}}),
            )
            .unwrap()
        };
        let holder = json!([{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}]);
        let picture = Picture {
            daemon_sets: Sight::Seen(vec![daemon_set()]),
            nodes: Sight::Seen(vec![
                serde_json::from_value(json!({"metadata": {"name": "node-1"}})).unwrap(),
            ]),
            services: Sight::Seen(vec![serde_json::from_value(service).unwrap()]),
            records: Sight::Seen(vec![
                record("192.0.2.1", holder),
                record("192.0.2.2", json!([])),
            ]),
            leases: Sight::Seen(vec![
                serde_json::from_value(json!({"metadata": {"name": "announcer-node-1"}})).unwrap(),
            ]),
            ..Picture::default()
        };
        let plan = Plan {
            objects: vec!["ClusterRole landfall-controller".to_owned()],
            left_alone: vec!["ClusterRole dashboard carries the label: it stays".to_owned()],
            ..plan(&picture)
        };
        insta::assert_snapshot!(plan.draw(false));
    }

    #[test]
    fn the_classes_of_landfall_that_are_held_are_freed_and_no_others() {
        let class = |name: &str, controller: &str, finalizers: &[&str]| {
            serde_json::from_value(json!({"metadata": {"name": name, "finalizers": finalizers},
                "spec": {"controllerName": controller}}))
            .unwrap()
        };
        let picture = Picture {
            gateway_classes: Sight::Seen(vec![
                class("held", CONTROLLER, &["x.org/y", GATEWAYS_EXIST]),
                class("free", CONTROLLER, &["x.org/y"]),
                class("theirs", "example.org/theirs", &[GATEWAYS_EXIST]),
            ]),
            ..Picture::default()
        };
        let plan = plan(&picture);
        assert_eq!(plan.classes, 1);
        let said = plan.draw(false);
        assert!(
            said.contains("6. the finalizers that hold 1 GatewayClasses in use"),
            "{said}"
        );
    }

    #[test]
    fn finalizers_of_others_stay() {
        let all = ["example.org/hold".to_owned(), DRAIN_FINALIZER.to_owned()];
        assert_eq!(
            others_finalizers(&all, DRAIN_FINALIZER),
            ["example.org/hold"]
        );
    }
}
