//! From each of the other balancers, in the order of the documents.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, addresses};

/// Another balancer, as it stands in a cluster: `tests/theirs/FROM.yaml`.
struct Theirs {
    from: &'static str,
    /// Group, version, kind, plural and scope.
    definitions: &'static [[&'static str; 5]],
    namespace: &'static str,
    /// Of the file, the objects that the cluster has a kind for.
    objects: &'static [&'static str],
    /// The address that blue/web has of it, and the pool that this is of, here.
    address: &'static str,
    pool: &'static str,
    policy: &'static str,
    /// A Pod that announces, with its image; where there is none, an object of the file announces.
    speaker: Option<[&'static str; 2]>,
    /// What announces, as it is told, and how it is taken away.
    announcer: &'static str,
    removed_by: &'static [&'static str],
    /// What announces says what is announced, too: once it is gone, that is in the file alone.
    takes_policies_along: bool,
}

/// A definition that takes whatever its objects say, as far as this program reads another balancer's.
fn definition([group, version, kind, plural, scope]: [&str; 5]) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

impl Theirs {
    fn file(&self) -> PathBuf {
        let name = format!("tests/theirs/{}.yaml", self.from);
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// Puts it into the cluster, with an address in use.
    async fn stands_in(&self, cluster: &Cluster) {
        for names in self.definitions {
            cluster.apply(None, definition(*names)).await;
        }
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        cluster.apply(None, namespace).await;
        let end = Instant::now() + PATIENCE;
        loop {
            let mut command = cluster.plane.kubectl();
            let output = command.args(["apply", "-f"]).arg(self.file()).output();
            let said = String::from_utf8(output.unwrap().stdout).unwrap();
            // A definition is served a moment after it is there; some kinds of the file have none here.
            if self.objects.iter().all(|name| said.contains(name)) {
                break;
            }
            assert!(Instant::now() < end, "{said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if let Some([name, image]) = self.speaker {
            cluster.account(self.namespace).await;
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": image}]}});
            cluster.apply(Some(self.namespace), pod).await;
        }
        let services: Api<Service> = Api::namespaced(cluster.client.clone(), "blue");
        let labelled = json!({"metadata": {"labels": {"color": "blue"}}});
        let taken = json!({"status": {"loadBalancer": {"ingress": [{"ip": self.address}]}}});
        let params = PatchParams::default();
        let labelled = services
            .patch("web", &params, &Patch::Merge(&labelled))
            .await;
        labelled.unwrap();
        let taken = services
            .patch_status("web", &params, &Patch::Merge(&taken))
            .await;
        taken.unwrap();
    }

    fn is_taken_off(&self, cluster: &Cluster) {
        let mut command = cluster.plane.kubectl();
        let output = command
            .arg("delete")
            .args(self.removed_by)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Nothing that is written changes an address, and nothing is announced twice.
    async fn moves_over(&self) {
        let Some(cluster) = Cluster::start(&format!("moving over from {}", self.from)).await else {
            return;
        };
        cluster.blue().await;
        self.stands_in(&cluster).await;
        let from = format!("--from={}", self.from);
        let migrate =
            |more: &[&str]| cluster.run(&[&["migrate", from.as_str()][..], more].concat());

        // In the order of docs/how-to/move.md: the pools before Landfall itself.
        let plan = [
            "Nothing was written",
            self.pool,
            self.address,
            "blue/web",
            "kept",
        ];
        migrate(&[]).has(0, &plan);
        let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
        let ours = definitions.get_opt("loadbalancerippools.landfall.dev");
        assert!(ours.await.unwrap().is_none());
        let created = format!("LoadBalancerIPPool {} created", self.pool);
        migrate(&["--apply"]).has(
            0,
            &[
                "loadbalancerippools.landfall.dev",
                &created,
                "Landfall is not installed yet",
            ],
        );
        cluster
            .run(&["install", "--no-wait", "--default-class=true"])
            .has(0, &["Applied"]);

        // For programs the answer is the plan alone; what is said besides goes beside it.
        let json = migrate(&["-o", "json"]);
        let plan: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(plan["addresses"][0]["becomes"], "Kept", "{json:#?}");
        assert!(json.err.contains("Nothing was written"), "{json:#?}");

        let (token, running) = cluster.controller();
        let unchanged = format!("LoadBalancerIPPool {} unchanged", self.pool);
        let still = format!("{} is there", self.announcer);
        tokio::task::block_in_place(|| migrate(&["--apply", "--announce"]))
            .has(1, &[&unchanged, &still]);
        tokio::task::block_in_place(|| self.is_taken_off(&cluster));
        let file = self.file();
        let mut last = vec!["--apply", "--announce"];
        if self.takes_policies_along {
            last.extend(["-f", file.to_str().unwrap()]);
        }
        let announced = format!("L2AnnouncementPolicy {} created", self.policy);
        tokio::task::block_in_place(|| migrate(&last)).has(
            0,
            &[
                &unchanged,
                &announced,
                "1 addresses in use are recorded; not one changed",
            ],
        );
        assert_eq!(addresses(&cluster.web().await), [self.address]);
        token.cancel();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_over_from_metallb_takes_every_address_in_use_over_and_changes_none() {
    Theirs {
        from: "metallb",
        definitions: &[
            [
                "metallb.io",
                "v1beta1",
                "IPAddressPool",
                "ipaddresspools",
                "Namespaced",
            ],
            [
                "metallb.io",
                "v1beta1",
                "L2Advertisement",
                "l2advertisements",
                "Namespaced",
            ],
        ],
        namespace: "metallb-system",
        objects: &["first-pool", "example"],
        address: "192.0.2.17",
        pool: "first-pool",
        policy: "example",
        speaker: Some([
            "speaker-x",
            "registry.example.org/bitnami/metallb-speaker:0.14",
        ]),
        announcer: "Pod metallb-system/speaker-x",
        removed_by: &[
            "pod",
            "-n",
            "metallb-system",
            "speaker-x",
            "--force",
            "--grace-period=0",
        ],
        takes_policies_along: false,
    }
    .moves_over()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_over_from_cilium_takes_every_address_in_use_over_and_changes_none() {
    Theirs {
        from: "cilium",
        definitions: &[
            [
                "cilium.io",
                "v2",
                "CiliumLoadBalancerIPPool",
                "ciliumloadbalancerippools",
                "Cluster",
            ],
            [
                "cilium.io",
                "v2alpha1",
                "CiliumL2AnnouncementPolicy",
                "ciliuml2announcementpolicies",
                "Cluster",
            ],
        ],
        namespace: "kube-system",
        objects: &["blue-pool", "policy1"],
        address: "192.0.2.110",
        pool: "blue-pool",
        policy: "policy1",
        speaker: None,
        announcer: "CiliumL2AnnouncementPolicy policy1",
        removed_by: &["ciliuml2announcementpolicies.cilium.io", "policy1"],
        takes_policies_along: true,
    }
    .moves_over()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_over_from_kube_vip_takes_every_address_in_use_over_and_changes_none() {
    Theirs {
        from: "kube-vip",
        definitions: &[],
        namespace: "kube-system",
        objects: &["kubevip", "kube-vip-ds"],
        address: "192.0.2.201",
        pool: "kube-vip-blue",
        policy: "kube-vip",
        speaker: None,
        announcer: "DaemonSet kube-system/kube-vip-ds",
        removed_by: &["daemonset", "-n", "kube-system", "kube-vip-ds"],
        takes_policies_along: true,
    }
    .moves_over()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_over_from_purelb_takes_every_address_in_use_over_and_changes_none() {
    Theirs {
        from: "purelb",
        definitions: &[
            [
                "purelb.io",
                "v1",
                "ServiceGroup",
                "servicegroups",
                "Namespaced",
            ],
            [
                "purelb.io",
                "v1",
                "LBNodeAgent",
                "lbnodeagents",
                "Namespaced",
            ],
        ],
        namespace: "purelb",
        objects: &[
            "servicegroup.purelb.io/default",
            "lbnodeagent.purelb.io/default",
        ],
        address: "192.0.2.50",
        pool: "default",
        policy: "purelb",
        speaker: Some([
            "lbnodeagent-x",
            "registry.example.org/purelb/lbnodeagent:v0.9.0",
        ]),
        announcer: "Pod purelb/lbnodeagent-x",
        removed_by: &[
            "pod",
            "-n",
            "purelb",
            "lbnodeagent-x",
            "--force",
            "--grace-period=0",
        ],
        takes_policies_along: false,
    }
    .moves_over()
    .await;
}
