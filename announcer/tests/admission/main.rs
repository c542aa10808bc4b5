//! What one node's announcer token is worth, on a real API server with the whole installation: its own node's word, and
//! no more. Each test plays one hand of somebody who has stolen it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod nodes;
mod renewals;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use landfall_runtime::events::{Events, Note};
use landfall_testbed::control_plane::{ControlPlane, Options};
use serde_json::{Value, json};

const NAMESPACE: &str = "landfall-system";
const FENCED_BY: &str = "landfall.dev/fenced-by";

/// The cluster, with an announcer's Pod on each of two nodes.
struct Cluster {
    plane: ControlPlane,
}

fn kubectl(plane: &ControlPlane, args: &[&str]) -> Output {
    let output = plane.kubectl().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {said}");
    output
}

impl Cluster {
    async fn start(test: &str) -> Option<Self> {
        let plane = ControlPlane::start(Options::for_test(test)?).await.unwrap();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/default");
        kubectl(&plane, &["apply", "-k", tree.to_str().unwrap()]);
        for node in ["node-1", "node-2"] {
            let pods: Api<Pod> = Api::namespaced(plane.client().await.unwrap(), NAMESPACE);
            let pod = json!({
                "metadata": {"name": format!("announcer-on-{node}")},
                "spec": {
                    "serviceAccountName": "landfall-announcer",
                    "nodeName": node,
                    "containers": [{"name": "announcer", "image": "none"}],
                },
            });
            pods.create(
                &PostParams::default(),
                &serde_json::from_value(pod).unwrap(),
            )
            .await
            .unwrap();
        }
        let cluster = Self { plane };
        cluster.in_force().await;
        Some(cluster)
    }

    /// A policy takes effect a moment after it was made: each is seen to refuse before a hand is played.
    async fn in_force(&self) {
        let intruder = self.announcer("node-1").await;
        let record = self.record("192.0.2.250", None).await;
        let admin: Api<Service> = Api::namespaced(self.admin().await, "default");
        let probe = service("probe", None);
        admin.create(&PostParams::default(), &probe).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(intruder.clone(), NAMESPACE);
        let services: Api<Service> = Api::namespaced(intruder.clone(), "default");
        let records = records(intruder.clone());
        let create = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let patch = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let odd = lease("none-of-ours", "x");
        let owner = json!({"status": {"owner": {"node": "node-9", "session": "x"}}});
        let forged = json!({"status": {"conditions": [condition("Forged")]}});
        let events: Api<Event> = Api::namespaced(intruder.clone(), "default");
        let event = json!({
            "metadata": {"name": "odd"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Normal", "reason": "Because", "action": "Announcing",
            "reportingController": "odd", "reportingInstance": "odd",
        });
        let event: Event = serde_json::from_value(event).unwrap();
        let odd_node = serde_json::from_value(nodes::of("node-9", json!({}))).unwrap();
        let others = nodes::nodes(intruder.clone());
        let refuse = async || {
            others.create(&create, &odd_node).await.is_err()
                && events.create(&create, &event).await.is_err()
                && leases.create(&create, &odd).await.is_err()
                && records
                    .patch_status(&record, &patch, &Patch::Merge(&owner))
                    .await
                    .is_err()
                && services
                    .patch_status("probe", &patch, &Patch::Merge(&forged))
                    .await
                    .is_err()
        };
        let all = tokio::time::timeout(Duration::from_secs(30), async {
            while !refuse().await {
                tokio::task::yield_now().await;
            }
        });
        all.await.unwrap();
    }

    /// A client with the token of the announcer on `node`, as its kubelet would get it.
    async fn announcer(&self, node: &str) -> Client {
        let pod = format!("announcer-on-{node}");
        self.token(&["--bound-object-kind", "Pod", "--bound-object-name", &pod])
            .await
    }

    async fn token(&self, bound: &[&str]) -> Client {
        let args = [
            &["create", "token", "-n", NAMESPACE, "landfall-announcer"],
            bound,
        ]
        .concat();
        let token = String::from_utf8(kubectl(&self.plane, &args).stdout).unwrap();
        let mut config = Kubeconfig::read_from(self.plane.kubeconfig("admin")).unwrap();
        let user: Value = json!({"token": token.trim()});
        config.auth_infos[0].auth_info = Some(serde_json::from_value(user).unwrap());
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(config, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    async fn admin(&self) -> Client {
        self.plane.client().await.unwrap()
    }

    /// A record of an address, owned as given. Returns its name.
    async fn record(&self, address: &str, owner: Option<&str>) -> String {
        let name = address.replace('.', "-");
        let record = json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP",
            "metadata": {"name": name}, "spec": {"address": address},
        });
        let api = records(self.admin().await);
        api.create(
            &PostParams::default(),
            &serde_json::from_value(record).unwrap(),
        )
        .await
        .unwrap();
        if let Some(node) = owner {
            self.own_as_admin(
                &name,
                json!({"node": node, "session": "s", "transitions": 1}),
            )
            .await;
        }
        name
    }

    async fn own_as_admin(&self, record: &str, owner: Value) {
        let patch = json!({"status": {"owner": owner}});
        let api = records(self.admin().await);
        api.patch_status(record, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// Tries to write `node` into a record as its owner.
    async fn own(&self, client: &Client, record: &str, node: &str) -> Result<(), kube::Error> {
        write_owner(client, record, json!({"node": node, "session": "mine"})).await
    }
}

fn records(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("landfall.dev", "v1alpha1", "LoadBalancerIP");
    Api::all_with(
        client,
        &ApiResource::from_gvk_with_plural(&kind, "loadbalancerips"),
    )
}

async fn write_owner(client: &Client, record: &str, owner: Value) -> Result<(), kube::Error> {
    let patch = json!({"status": {"owner": owner}});
    let params = PatchParams::default();
    let api = records(client.clone());
    api.patch_status(record, &params, &Patch::Merge(&patch))
        .await
        .map(drop)
}

fn condition(type_: &str) -> Value {
    json!({
        "type": type_, "status": "True", "reason": "Because", "message": "so",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn lease(name: &str, holder: &str) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {"landfall.dev/announcer": "{}"}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
    }))
    .unwrap()
}

fn service(name: &str, class: Option<&str>) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": class.unwrap_or("landfall.dev/l2"),
            "ports": [{"port": 80}],
        },
    }))
    .unwrap()
}

/// Whether the API server said no, for the reason that is looked for.
fn refused<T: std::fmt::Debug>(answer: Result<T, kube::Error>, why: &str) {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert!(matches!(status.code, 403 | 422), "{status:?}");
            assert!(
                status.message.contains(why),
                "{} does not say {why:?}",
                status.message
            );
        }
        other => panic!("not refused for {why:?}: {other:?}"),
    }
}

#[test]
fn a_stolen_token_is_worth_its_own_nodes_word() {
    // One runtime for all of them: a client does not outlive its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(cluster) = Cluster::start("a_stolen_token_is_worth_its_own_nodes_word").await
        else {
            return;
        };
        the_controllers_lease_is_out_of_reach(&cluster).await;
        a_session_is_its_own_nodes(&cluster).await;
        anothers_session_is_ended_only_in_ones_own_name(&cluster).await;
        an_address_goes_to_ones_own_node_or_from_it(&cluster).await;
        a_services_addresses_and_requests_stay_as_they_are(&cluster).await;
        an_events_word_is_its_own_pods_and_about_what_it_announces(&cluster).await;
        a_policy_is_told_of_in_an_announcers_words(&cluster).await;
        renewals::a_session_is_renewed_by_its_own_node_alone(&cluster).await;
        nodes::a_nodes_object_is_its_own_announcers(&cluster).await;
        a_token_without_a_node_writes_nothing(&cluster).await;
    });
}

async fn the_controllers_lease_is_out_of_reach(cluster: &Cluster) {
    let admin: Api<Lease> = Api::namespaced(cluster.admin().await, NAMESPACE);
    let held = lease("landfall-controller", "controller-1");
    let mut held = admin.create(&PostParams::default(), &held).await.unwrap();
    let intruder: Api<Lease> = Api::namespaced(cluster.announcer("node-1").await, NAMESPACE);
    held.spec.as_mut().unwrap().holder_identity = Some("intruder".to_owned());
    let taken = intruder
        .replace("landfall-controller", &PostParams::default(), &held)
        .await;
    refused(taken, "the Leases of announcers only");
    let patch = json!({"spec": {"holderIdentity": "intruder"}});
    let patched = intruder
        .patch(
            "landfall-controller",
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    refused(patched, "forbidden");
    refused(
        intruder
            .delete("landfall-controller", &Default::default())
            .await,
        "forbidden",
    );
}

async fn a_session_is_its_own_nodes(cluster: &Cluster) {
    let leases: Api<Lease> = Api::namespaced(cluster.announcer("node-1").await, NAMESPACE);
    let params = PostParams::default();
    let mut own = leases
        .create(&params, &lease("announcer-node-1", "s1"))
        .await
        .unwrap();
    own.spec.as_mut().unwrap().lease_transitions = Some(7);
    leases
        .replace("announcer-node-1", &params, &own)
        .await
        .unwrap();
    // What would outlive the token.
    let change = async |spec: Value, metadata: Value| {
        let mut changed =
            serde_json::to_value(leases.get("announcer-node-1").await.unwrap()).unwrap();
        for (part, with) in [("spec", spec), ("metadata", metadata)] {
            let part = changed[part].as_object_mut().unwrap();
            part.extend(with.as_object().unwrap().clone());
        }
        let changed = serde_json::from_value(changed).unwrap();
        leases.replace("announcer-node-1", &params, &changed).await
    };
    let none = || json!({});
    refused(
        change(json!({"leaseDurationSeconds": i32::MAX}), none()).await,
        "within five minutes",
    );
    let never = "9999-12-30T00:00:00.000000Z";
    for time in ["renewTime", "acquireTime"] {
        refused(
            change(json!({time: never}), none()).await,
            "before the year 2200",
        );
    }
    let held = json!({"finalizers": ["example.com/held"]});
    refused(change(none(), held).await, "no finalizer");
    let node = json!([{"apiVersion": "v1", "kind": "Node", "name": "node-9", "uid": "u"}]);
    let owned = change(none(), json!({"ownerReferences": node})).await;
    refused(owned, "goes with its Node");
    change(none(), none()).await.unwrap();
    let others = leases
        .create(&params, &lease("announcer-node-2", "s2"))
        .await;
    refused(others, "another node's Lease");
}

async fn anothers_session_is_ended_only_in_ones_own_name(cluster: &Cluster) {
    let params = PostParams::default();
    let owner: Api<Lease> = Api::namespaced(cluster.announcer("node-2").await, NAMESPACE);
    let held = owner
        .create(&params, &lease("announcer-node-2", "s2"))
        .await
        .unwrap();
    let other: Api<Lease> = Api::namespaced(cluster.announcer("node-1").await, NAMESPACE);
    let fence = |by: Option<&str>| {
        let mut lease = held.clone();
        lease.spec.as_mut().unwrap().holder_identity = None;
        let notes = lease.metadata.annotations.get_or_insert_default();
        notes.extend(by.map(|node| (FENCED_BY.to_owned(), node.to_owned())));
        lease
    };
    let write = async |lease: Lease| other.replace("announcer-node-2", &params, &lease).await;
    for by in [None, Some("node-2"), Some("node-9")] {
        refused(write(fence(by)).await, FENCED_BY);
    }
    // A forged network card, a stolen session, a longer life: all beside a fence that is right.
    let mut card = fence(Some("node-1"));
    let notes = card.metadata.annotations.as_mut().unwrap();
    notes.insert(
        "landfall.dev/announcer".to_owned(),
        "{\"interfaces\":[]}".to_owned(),
    );
    let mut gone = fence(Some("node-1"));
    gone.metadata
        .annotations
        .as_mut()
        .unwrap()
        .remove("landfall.dev/announcer");
    let mut stolen = fence(Some("node-1"));
    stolen.spec.as_mut().unwrap().holder_identity = Some("mine".to_owned());
    let mut longer = fence(Some("node-1"));
    longer.spec.as_mut().unwrap().lease_duration_seconds = Some(3600);
    let mut labelled = fence(Some("node-1"));
    labelled.metadata.labels = Some([("landfall.dev/session".to_owned(), "x".to_owned())].into());
    for forged in [card, gone, stolen, longer, labelled] {
        refused(write(forged).await, FENCED_BY);
    }
    let fenced = write(fence(Some("node-1"))).await.unwrap();
    // Whoever was fenced begins anew.
    let mut anew = fenced;
    anew.spec.as_mut().unwrap().holder_identity = Some("s3".to_owned());
    anew.metadata
        .annotations
        .as_mut()
        .unwrap()
        .remove(FENCED_BY);
    owner
        .replace("announcer-node-2", &params, &anew)
        .await
        .unwrap();
}

async fn an_address_goes_to_ones_own_node_or_from_it(cluster: &Cluster) {
    let one = cluster.announcer("node-1").await;
    let free = cluster.record("192.0.2.1", None).await;
    refused(cluster.own(&one, &free, "node-9").await, "its own node");
    cluster.own(&one, &free, "node-1").await.unwrap();
    let moving = json!({"node": "node-1", "session": "mine", "handoverTo": "node-2"});
    write_owner(&one, &free, moving).await.unwrap();
    cluster.own(&one, &free, "node-2").await.unwrap();
    // It is node-2's now: what it says of itself, and to whom it passes it, is node-2's business.
    let not_mine = json!({"node": "node-2", "session": "forged"});
    refused(write_owner(&one, &free, not_mine).await, "its own node");
    let pushed = json!({"handoverTo": "node-1"});
    refused(write_owner(&one, &free, pushed).await, "its own node");
    refused(write_owner(&one, &free, Value::Null).await, "its own node");
    // A takeover puts one's own node in.
    let lost = cluster.record("192.0.2.2", Some("node-2")).await;
    cluster.own(&one, &lost, "node-1").await.unwrap();
    write_owner(&one, &lost, Value::Null).await.unwrap();
    let api = records(one);
    let params = PatchParams::default();
    let elsewhere = json!({"status": {"interfaces": ["eth9"]}});
    let answer = api
        .patch_status(&free, &params, &Patch::Merge(&elsewhere))
        .await;
    refused(answer, "its owner's to write");
    let forged = json!({"status": {"conditions": [condition("OutOfPool")]}});
    let answer = api
        .patch_status(&lost, &params, &Patch::Merge(&forged))
        .await;
    refused(
        answer,
        "conditions Announced, AddressConflict and GatewaysServed",
    );
    let mut drawn = condition("Announced");
    drawn["message"] = json!("two\nlines");
    let drawn = json!({"status": {"conditions": [drawn]}});
    let answer = api
        .patch_status(&lost, &params, &Patch::Merge(&drawn))
        .await;
    refused(answer, "one printable line");
    let fine = json!({"status": {"conditions": [condition("Announced")]}});
    api.patch_status(&lost, &params, &Patch::Merge(&fine))
        .await
        .unwrap();
}

async fn a_services_addresses_and_requests_stay_as_they_are(cluster: &Cluster) {
    let params = PatchParams::default();
    let admin: Api<Service> = Api::namespaced(cluster.admin().await, "default");
    let announcer: Api<Service> = Api::namespaced(cluster.announcer("node-1").await, "default");
    for (name, class) in [("of-others", Some("example.com/other")), ("ours", None)] {
        admin
            .create(&PostParams::default(), &service(name, class))
            .await
            .unwrap();
        let write = async |patch: Value| {
            announcer
                .patch_status(name, &params, &Patch::Merge(&patch))
                .await
        };
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.77"}]}}});
        refused(write(ingress).await, "does not write the addresses");
        let assigned =
            json!({"status": {"conditions": [condition("landfall.dev/AddressAssigned")]}});
        refused(
            write(assigned).await,
            "landfall.dev/Announced of a Service only",
        );
        let asks = json!({"metadata": {"annotations": {"landfall.dev/ips": "192.0.2.9"}}});
        refused(write(asks).await, "nothing of a Service but its condition");
        let labels = json!({"metadata": {"labels": {"tier": "gold"}}});
        refused(
            write(labels).await,
            "nothing of a Service but its condition",
        );
        let mut announced = condition("landfall.dev/Announced");
        let answer = write(json!({"status": {"conditions": [announced]}})).await;
        if class.is_some() {
            refused(answer, "nothing to say of a Service of another class");
            continue;
        }
        answer.unwrap();
        for message in ["two\nlines", "\u{1b}[31m", "\u{202e}", &"x".repeat(4_097)] {
            announced["message"] = json!(message);
            let answer = write(json!({"status": {"conditions": [announced]}})).await;
            refused(answer, "one printable line");
        }
        write(json!({"status": {"conditions": []}})).await.unwrap();
    }
}

async fn an_events_word_is_its_own_pods_and_about_what_it_announces(cluster: &Cluster) {
    let events: Api<Event> = Api::namespaced(cluster.announcer("node-1").await, "default");
    let publish = async |change: Value| {
        let mut event = json!({
            "metadata": {"generateName": "ours-"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Warning", "reason": "Because", "action": "Announcing", "note": "so",
            "reportingController": "landfall.dev/landfall-announcer",
            "reportingInstance": "announcer-on-node-1",
            "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "ours"},
        });
        let parts = event.as_object_mut().unwrap();
        parts.extend(change.as_object().unwrap().clone());
        let event = serde_json::from_value(event).unwrap();
        events.create(&PostParams::default(), &event).await
    };
    publish(json!({})).await.unwrap();
    let record = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "name": "192-0-2-1"});
    publish(json!({"regarding": record})).await.unwrap();
    for (api, kind) in [
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("example.com/v1", "LoadBalancerIP"),
    ] {
        let regarding =
            json!({"apiVersion": api, "kind": kind, "namespace": "default", "name": "x"});
        let answer = publish(json!({"regarding": regarding})).await;
        refused(answer, "Services, records and policies only");
    }
    for forged in [
        json!({"reportingInstance": "announcer-on-node-2"}),
        json!({"reportingController": "landfall.dev/landfall-controller"}),
        json!({"reportingController": "kubelet"}),
    ] {
        refused(publish(forged).await, "signs an Event with its own name");
    }
    let related = json!({"related": {"apiVersion": "v1", "kind": "Node", "name": "node-2"}});
    refused(publish(related).await, "about one object");
    let own = Events::new(
        cluster.announcer("node-1").await,
        "landfall-announcer",
        "announcer-on-node-1",
    );
    let regarding = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "ours",
    }));
    let note = Note {
        warning: false,
        reason: "Announced".to_owned(),
        action: "Announcing",
        note: "node node-1 answers".to_owned(),
    };
    let now = Timestamp::now();
    own.publish(regarding.unwrap(), note, now).await.unwrap();
}

async fn a_policy_is_told_of_in_an_announcers_words(cluster: &Cluster) {
    let policies = |client| {
        let kind = GroupVersionKind::gvk("landfall.dev", "v1alpha1", "L2AnnouncementPolicy");
        let resource = ApiResource::from_gvk_with_plural(&kind, "l2announcementpolicies");
        Api::<DynamicObject>::all_with(client, &resource)
    };
    let policy = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": {"name": "default"}, "spec": {},
    });
    let policy = serde_json::from_value(policy).unwrap();
    policies(cluster.admin().await)
        .create(&PostParams::default(), &policy)
        .await
        .unwrap();
    let announcer = policies(cluster.announcer("node-1").await);
    let write = async |type_: &str| {
        let status = json!({"status": {"conditions": [condition(type_)]}});
        let params = PatchParams::default();
        announcer
            .patch_status("default", &params, &Patch::Merge(&status))
            .await
    };
    write("Accepted").await.unwrap();
    write("DirectorReady").await.unwrap();
    refused(write("Reviewed").await, "Accepted and DirectorReady");
    let mut drawn = condition("Accepted");
    drawn["message"] = json!("\u{7}");
    let status = json!({"status": {"conditions": [drawn]}});
    let answer = announcer
        .patch_status("default", &PatchParams::default(), &Patch::Merge(&status))
        .await;
    refused(answer, "one printable line");
}

async fn a_token_without_a_node_writes_nothing(cluster: &Cluster) {
    let nowhere = cluster.token(&[]).await;
    let leases: Api<Lease> = Api::namespaced(nowhere.clone(), NAMESPACE);
    let answer = leases
        .create(&PostParams::default(), &lease("announcer-x", "s"))
        .await;
    refused(answer, "names no node");
    let record = cluster.record("192.0.2.3", None).await;
    refused(
        cluster.own(&nowhere, &record, "node-1").await,
        "names no node",
    );
}
