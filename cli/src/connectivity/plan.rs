//! Which nodes carry the test, and whether a policy announces it already. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use landfall_crds::selector::{Labels, matches, service_labels};
use landfall_crds::{L2AnnouncementPolicy, L2Node, LoadBalancing};

use crate::picture::Picture;

/// What a Pod is placed by.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Where the test takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The node whose interface the client uses. No backend runs there, so that it never owns an address of the test:
    /// what a node sends to itself is on no wire.
    pub(super) client: String,
    pub(super) interfaces: Vec<String>,
    /// The nodes of backends, by the value of their host name's label.
    pub(super) backends: BTreeMap<String, String>,
    /// The policies that announce the test's Service anyway, and how they forward; none: it brings one.
    pub(super) policies: BTreeMap<String, LoadBalancing>,
}

impl Plan {
    pub(super) fn forwards_by_xdp(&self) -> bool {
        self.policies.values().any(|by| *by == LoadBalancing::Xdp)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Nothing is wrong; nothing can be tried either.
    TooFew(String),
    /// Nobody's address can be announced.
    Broken(String),
}

/// The plan, or why there is none.
pub(super) fn plan(
    picture: &Picture,
    namespace: (&str, &Labels),
    service: &str,
) -> Result<Plan, Lack> {
    for (kind, hidden) in [
        ("Nodes", picture.nodes.hidden()),
        ("L2Nodes", picture.l2_nodes.hidden()),
        ("L2AnnouncementPolicies", picture.policies.hidden()),
    ] {
        if let Some(why) = hidden {
            return Err(Lack::Broken(format!("{kind} cannot be read: {why}")));
        }
    }
    let (namespace, of_namespace) = namespace;
    let labels = service_labels(namespace, service, &Labels::new());
    let selecting = picture.policies.all().iter().filter(|policy| {
        let spec = &policy.spec;
        spec.is_for_services()
            && spec.load_balancer_ips
            && matches(spec.service_selector.as_ref(), &labels).unwrap_or(false)
            && matches(spec.namespace_selector.as_ref(), of_namespace).unwrap_or(false)
    });
    let selecting: Vec<&L2AnnouncementPolicy> = selecting.collect();
    let known: BTreeMap<String, &L2Node> = picture
        .l2_nodes
        .all()
        .iter()
        .filter(|node| interfaces(node).next().is_some())
        .map(|node| (node.name_any(), node))
        .collect();
    let nodes = picture.nodes.all().iter();
    let able: Vec<&Node> = nodes
        .filter(|node| known.contains_key(&node.name_any()) && is_ready(node))
        .collect();
    let announces = |node: &Node| {
        let of_node = node.metadata.labels.clone().unwrap_or_default();
        let selects = |policy: &&L2AnnouncementPolicy| {
            matches(policy.spec.node_selector.as_ref(), &of_node).unwrap_or(false)
        };
        selecting.is_empty() || selecting.iter().any(selects)
    };
    let (may, others): (Vec<&Node>, Vec<&Node>) = able
        .iter()
        .copied()
        .partition(|node| takes_pods(node) && announces(node));
    if able.is_empty() {
        return Err(Lack::Broken(
            "no Ready node has an announcer with an interface that can announce; `landfall status` says more"
                .to_owned(),
        ));
    }
    if may.is_empty() && !selecting.is_empty() {
        let names: Vec<String> = selecting.iter().map(|policy| policy.name_any()).collect();
        return Err(Lack::Broken(format!(
            "policy {} selects the test's Service and no node that announces and takes Pods",
            names.join(" and ")
        )));
    }
    // Whoever could not announce anyway is the client's host; else the last of those who could.
    let mut others = others;
    others.sort_by_key(|node| !is_cordoned(node));
    let (client, backends) = match (others.last(), may.split_last()) {
        (Some(client), _) if !may.is_empty() => (*client, &may[..]),
        (_, Some((client, rest))) if !rest.is_empty() => (*client, rest),
        _ => {
            return Err(Lack::TooFew(format!(
                "it takes two Ready nodes with an announcer, one for the client and one for backends, that a policy \
                 selects and that take Pods; there are {} with an announcer, and {} of them can have backends",
                able.len(),
                may.len()
            )));
        }
    };
    let backends = backends.iter().take(2).map(|node| {
        let name = node.name_any();
        let host = node.labels().get(HOSTNAME).unwrap_or(&name).clone();
        (name, host)
    });
    let client = client.name_any();
    Ok(Plan {
        interfaces: known
            .get(&client)
            .map(|node| interfaces(node).collect())
            .unwrap_or_default(),
        client,
        backends: backends.collect(),
        policies: selecting
            .iter()
            .map(|policy| (policy.name_any(), policy.spec.load_balancing))
            .collect(),
    })
}

fn interfaces(node: &L2Node) -> impl Iterator<Item = String> + '_ {
    let status = node.status.iter();
    status
        .flat_map(|status| &status.interfaces)
        .map(|interface| interface.name.clone())
}

/// The nodes by the Ethernet addresses they announce with.
pub(super) fn macs(nodes: &[L2Node]) -> BTreeMap<String, String> {
    let pairs = nodes.iter().flat_map(|node| {
        let interfaces = node.status.iter().flat_map(|status| &status.interfaces);
        interfaces.map(|interface| (interface.mac.to_ascii_lowercase(), node.name_any()))
    });
    pairs.collect()
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_cordoned(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.is_some_and(|spec| spec.unschedulable == Some(true))
}

/// Whether Pods without tolerations run there.
fn takes_pods(node: &Node) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let mut taints = spec.taints.into_iter().flatten();
    spec.unschedulable != Some(true)
        && !taints.any(|taint| ["NoSchedule", "NoExecute"].contains(&&*taint.effect))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::picture::Sight;

    fn picture(nodes: &[(&str, Value)], policies: &[Value]) -> Picture {
        let node = |(name, spec): &(&str, Value)| {
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {HOSTNAME: format!("host-{name}"), "name": name}},
                "spec": spec, "status": {"conditions": [{"type": "Ready", "status": "True"}]}
            }))
            .unwrap()
        };
        let l2_node = |(name, _): &(&str, Value)| {
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "L2Node", "metadata": {"name": name},
                "spec": {"nodeName": name},
                "status": {"interfaces": [{"name": "eth0", "mac": format!("02:00:00:00:00:{}", &name[1..])}]}
            }))
            .unwrap()
        };
        let policy = |(at, spec): (usize, &Value)| {
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy",
                "metadata": {"name": format!("p{at}")}, "spec": spec
            }))
            .unwrap()
        };
        Picture {
            nodes: Sight::Seen(nodes.iter().map(node).collect()),
            l2_nodes: Sight::Seen(nodes.iter().map(l2_node).collect()),
            policies: Sight::Seen(policies.iter().enumerate().map(policy).collect()),
            ..Picture::default()
        }
    }

    fn planned(picture: &Picture) -> Result<(String, Vec<String>), Lack> {
        let plan = plan(picture, ("t", &Labels::new()), "echo")?;
        Ok((plan.client, plan.backends.into_keys().collect()))
    }

    #[test]
    fn the_client_stands_where_no_backend_runs() {
        let open = json!({});
        let three = [
            ("n01", open.clone()),
            ("n02", open.clone()),
            ("n03", open.clone()),
        ];
        let backends = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            planned(&picture(&three, &[])),
            Ok(("n03".to_owned(), backends(&["n01", "n02"])))
        );
        assert_eq!(
            planned(&picture(&three[..2], &[])),
            Ok(("n02".to_owned(), backends(&["n01"])))
        );
        assert!(matches!(
            planned(&picture(&three[..1], &[])),
            Err(Lack::TooFew(_))
        ));
        // Where nobody could announce something is wrong.
        let nowhere = json!({"nodeSelector": {"matchLabels": {"name": "n9"}}});
        let broken = |picture: &Picture| matches!(planned(picture), Err(Lack::Broken(_)));
        assert!(broken(&picture(&three, &[nowhere])) && broken(&Picture::default()));
        let hidden = Picture {
            nodes: Sight::Hidden(crate::picture::Hidden::Forbidden),
            ..picture(&three, &[])
        };
        assert!(broken(&hidden));
    }

    #[test]
    fn a_node_that_takes_no_pods_or_that_no_policy_selects_is_the_clients() {
        let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        let nodes = [("n01", tainted), ("n02", json!({})), ("n03", json!({}))];
        let (client, backends) = planned(&picture(&nodes, &[])).unwrap();
        assert_eq!((&*client, backends.len()), ("n01", 2));
        let nodes = [("n01", json!({})), ("n02", json!({})), ("n03", json!({}))];
        let policy =
            json!({"nodeSelector": {"matchLabels": {"name": "n02"}}, "loadBalancing": "XDP"});
        let (client, backends) = planned(&picture(&nodes, &[policy])).unwrap();
        assert_eq!((&*client, backends), ("n03", vec!["n02".to_owned()]));
    }

    #[test]
    fn a_policy_for_other_services_does_not_count() {
        let nodes = [("n01", json!({})), ("n02", json!({}))];
        let others = json!({"serviceSelector": {"matchLabels": {"app": "web"}}});
        let mine = json!({"loadBalancing": "XDP"});
        let plan = plan(
            &picture(&nodes, &[others, mine]),
            ("t", &Labels::new()),
            "echo",
        )
        .unwrap();
        assert_eq!(plan.policies.keys().collect::<Vec<_>>(), ["p1"]);
        assert!(plan.forwards_by_xdp());
        assert_eq!(plan.backends["n01"], "host-n01");
    }
}
