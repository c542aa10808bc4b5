//! What the test makes. Pure.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1::DaemonSet;
use landfall_crds::ip_name;
use serde_json::{Value, json};

use super::plan::Plan;
use crate::picture::ANNOUNCER;

/// On everything that a test makes, with its namespace's name as the value: it takes away nothing else.
pub(super) const LABEL: &str = "landfall.dev/connectivity-test";
/// The name of the Deployment and the Service.
pub(super) const ECHO: &str = "landfall-connectivity-test";
/// The Pod that asks, and for whom its addresses are reserved.
pub(super) const CLIENT: &str = "client";
/// Where the Service listens.
pub(super) const PORT: u16 = 80;
/// How long a backend that ends serves on.
const GRACE: u32 = 5;
/// Backends a node.
const BACKENDS: usize = 2;

/// The Secrets that the announcers' images are pulled with.
pub(super) fn pull_secrets(announcer: &DaemonSet) -> Vec<String> {
    let pod = announcer
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let named = pod.and_then(|pod| pod.image_pull_secrets.as_ref());
    named
        .into_iter()
        .flatten()
        .map(|secret| secret.name.clone())
        .collect()
}

/// The account that the test's Pods run as: with the Secrets that images are pulled with, and no rights.
pub(super) fn account(secrets: &[String]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": ECHO},
        "automountServiceAccountToken": false,
        "imagePullSecrets": secrets,
    })
}

/// The image of the test's programs: beside the announcer's.
pub(super) fn image(announcer: &DaemonSet) -> Result<String, String> {
    let pod = announcer
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
    let image = image.ok_or("the announcers have no image; --image names that of the test")?;
    let (before, tag) = image
        .rsplit_once("landfall-announcer:")
        .filter(|(_, tag)| !tag.contains('@'))
        .ok_or_else(|| {
            format!("{image} does not say which image the test is to use; --image does")
        })?;
    Ok(format!("{before}landfall-probe:{tag}"))
}

pub(super) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            LABEL: name,
            // The client opens a raw socket in its host's network.
            "pod-security.kubernetes.io/enforce": "privileged",
        }}
    })
}

/// The backends, on these nodes alone. Another round replaces all of them.
pub(super) fn deployment(image: &str, plan: &Plan, hosts: &[&str], round: u32) -> Value {
    let labels = json!({"app": ECHO});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": ECHO},
        "spec": {
            "replicas": BACKENDS * plan.backends.len(),
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels, "annotations": {"landfall.dev/round": round.to_string()}},
                "spec": {
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [
                            {"key": "kubernetes.io/hostname", "operator": "In", "values": hosts}
                        ]}]
                    }}},
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {"matchLabels": labels}, "matchLabelKeys": ["pod-template-hash"]
                    }],
                    "serviceAccountName": ECHO, "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": GRACE,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}
                    },
                    "containers": [{
                        "name": "echo", "image": image, "args": ["serve", "--port=8080"],
                        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]}
                        }
                    }]
                }
            }
        }
    })
}

/// The Service. `Local`: the client's address is kept whoever forwards, and only nodes with backends announce it.
pub(super) fn service(pool: Option<&str>) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": ECHO},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": landfall_crds::LOAD_BALANCER_CLASS,
            "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local",
            "allocateLoadBalancerNodePorts": false,
            "selector": {"app": ECHO},
            "ports": [
                {"name": "tcp", "protocol": "TCP", "port": PORT, "targetPort": 8080},
                {"name": "udp", "protocol": "UDP", "port": PORT, "targetPort": 8080},
            ]
        }
    });
    if let Some(pool) = pool {
        service["metadata"]["annotations"] = json!({landfall_crds::annotations::POOL: pool});
    }
    service
}

/// The policy's name: two tests of two namespaces have two.
pub(super) fn policy_name(namespace: &str) -> String {
    format!("{ECHO}-{namespace}")
}

/// Announces the test's Service where no policy of the cluster does.
pub(super) fn policy(namespace: &str) -> Value {
    json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": {"name": policy_name(namespace), "labels": {LABEL: namespace}},
        "spec": {"serviceSelector": {"matchLabels": {
            "io.kubernetes.service.namespace": namespace, "io.kubernetes.service.name": ECHO
        }}}
    })
}

/// Keeps an address for the client: nobody answers for one that is only kept.
pub(super) fn reservation(namespace: &str, address: IpAddr) -> Value {
    json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
        "metadata": {"name": ip_name(address), "labels": {LABEL: namespace}},
        "spec": {
            "address": address.to_string(),
            "reservedFor": {"kind": "Service", "namespace": namespace, "name": CLIENT}
        }
    })
}

/// The client: on the node and the interfaces of the plan it asks for each address in one of its own.
pub(super) fn client(
    image: &str,
    plan: &Plan,
    interfaces: &[String],
    pairs: &[(IpAddr, IpAddr)],
    seconds: u64,
) -> Value {
    let mut args = vec![
        "ask".to_owned(),
        format!("--port={PORT}"),
        format!("--interfaces={}", interfaces.join(",")),
        format!("--seconds={seconds}"),
    ];
    args.extend(pairs.iter().map(|(own, vip)| format!("--pair={own}={vip}")));
    let mut pod = on_a_host(CLIENT, image, &plan.client, &args);
    pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["NET_RAW"]);
    pod
}

/// Reads the metrics of the announcer of a node, which only answers its own host.
pub(super) fn reader(name: &str, image: &str, node: &str) -> Value {
    on_a_host(name, image, node, &["metrics".to_owned()])
}

/// Kills the process of the announcer of a node whose Pod has this uid, as a crash would end it. No profile of its own may
/// stand between.
pub(super) fn killer(image: &str, node: &str, uid: &str) -> Value {
    let args = [
        "kill".to_owned(),
        ANNOUNCER.to_owned(),
        format!("--pod={uid}"),
    ];
    let mut pod = on_a_node("killer", image, node, &args);
    pod["spec"]["hostPID"] = json!(true);
    let context = &mut pod["spec"]["containers"][0]["securityContext"];
    context["capabilities"]["add"] = json!(["KILL"]);
    context["appArmorProfile"] = json!({"type": "Unconfined"});
    pod
}

fn on_a_host(name: &str, image: &str, node: &str, args: &[String]) -> Value {
    let mut pod = on_a_node(name, image, node, args);
    pod["spec"]["hostNetwork"] = json!(true);
    pod
}

/// Root in its container, without any capability so far.
fn on_a_node(name: &str, image: &str, node: &str, args: &[String]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "serviceAccountName": ECHO, "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": image, "args": args,
                "resources": {"requests": {"cpu": "20m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
                "securityContext": {
                    "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}
                }
            }]
        }
    })
}

#[cfg(test)]
mod tests {
    use landfall_crds::LoadBalancing;

    use super::*;

    #[test]
    fn the_image_is_the_announcers_neighbour() {
        let of = |image: &str| {
            let set = json!({"spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "announcer", "image": image}]}}}});
            super::image(&serde_json::from_value(set).unwrap())
        };
        assert_eq!(
            of("registry.example.org:5000/lf/landfall-announcer:7").unwrap(),
            "registry.example.org:5000/lf/landfall-probe:7"
        );
        assert!(of("landfall/landfall-announcer:7@sha256:00").is_err());
        assert!(of("landfall/announcer").is_err());
    }

    #[test]
    fn what_is_made_is_this() {
        let plan = Plan {
            client: "node-3".to_owned(),
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            backends: [("node-1".to_owned(), "host-1".to_owned())].into(),
            policies: [("data".to_owned(), LoadBalancing::Xdp)].into(),
        };
        let address = |text: &str| text.parse().unwrap();
        let pairs = [(address("192.0.2.9"), address("192.0.2.1"))];
        insta::assert_yaml_snapshot!([
            namespace("t"),
            account(&["registry".to_owned()]),
            deployment("probe:7", &plan, &["host-1"], 2),
            service(Some("public")),
            policy("t"),
            reservation("t", pairs[0].0),
            client("probe:7", &plan, &plan.interfaces, &pairs, 600),
            reader("before", "probe:7", "node-1"),
            killer("probe:7", "node-1", "uid-7"),
        ]);
    }
}
