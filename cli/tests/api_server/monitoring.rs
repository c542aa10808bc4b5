//! What happens in a cluster, as the program tells it line by line.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use landfall_crds::{L2Node, LoadBalancerIP};
use serde_json::{Value, json};

use super::cluster::Cluster;

/// The program while it runs.
struct Monitor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Monitor {
    /// It ends by itself when nobody ends it.
    fn start(cluster: &Cluster, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .arg("--kubeconfig")
            .arg(cluster.plane.kubeconfig("admin"))
            .args(["monitor", "--output=json", "--for=60s"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line of which that is true; it must come before the program ends.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = self.lines.by_ref();
        let mut read = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        read.find(wanted).unwrap()
    }

    /// How it ends when it is interrupted.
    fn interrupt(mut self) -> Option<i32> {
        interrupt(&mut self.child)
    }
}

fn interrupt(child: &mut Child) -> Option<i32> {
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status();
    assert!(kill.unwrap().success());
    child.wait().unwrap().code()
}

/// Whether a thread of the process waits until somebody reads what it writes.
fn waits_for_a_reader(child: &Child) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let mut tasks = tasks.map_while(Result::ok);
    tasks.any(|task| {
        let place = std::fs::read_to_string(task.path().join("wchan"));
        place.is_ok_and(|place| place.contains("pipe_write"))
    })
}

async fn owned(cluster: &Cluster, node: &str) {
    let records: Api<LoadBalancerIP> = Api::all(cluster.client.clone());
    let status = json!({"status": {"interfaces": ["eth0"],
        "owner": {"node": node, "session": format!("session-of-{node}"), "standby": "node-2", "transitions": 1}}});
    records
        .patch_status(
            "192-0-2-10",
            &PatchParams::default(),
            &Patch::Merge(&status),
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_line_by_line_until_it_is_interrupted() {
    let Some(cluster) = Cluster::start("telling what happens").await else {
        return;
    };
    cluster.blue().await;
    // Before there is anything to see but Services, these are told of.
    let said = cluster.run(&["monitor", "-A", "--for=2s"]);
    said.has(
        0,
        &[
            "TIME ",
            "the cluster does not know loadbalancerips.landfall.dev; `landfall install` brings it",
        ],
    );
    cluster.run(&["install", "--no-wait"]).has(0, &[]);
    let record = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "metadata": {"name": "192-0-2-10"},
        "spec": {"address": "192.0.2.10", "holders": [{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}]}});
    cluster.apply(None, record).await;
    owned(&cluster, "node-1").await;

    let mut monitor = Monitor::start(&cluster, &["-A"]);
    let state = monitor.until(|line| line["kind"] == "address");
    assert_eq!(state["change"], "state");
    assert_eq!(state["addresses"], json!(["192.0.2.10"]));
    assert_eq!(state["nodes"], json!(["node-1", "node-2"]));
    owned(&cluster, "node-2").await;
    let moved = monitor.until(|line| line["change"] == "moved");
    assert_eq!(moved["nodes"], json!(["node-2", "node-1"]));
    let words = moved["words"].as_str().unwrap();
    assert!(
        words.starts_with("from node-1, whose session is over, to the node that stood by"),
        "{words}"
    );
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "blue");
    for (name, controller) in [
        ("theirs", "example.org/other"),
        ("ours", "landfall.dev/landfall-controller"),
    ] {
        let event = json!({"metadata": {"name": name}, "type": "Warning", "reason": "PoolExhausted", "action": "Assign",
            "note": format!("by {name}"), "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": controller, "reportingInstance": "test",
            "regarding": {"kind": "Service", "namespace": "blue", "name": "web"}});
        events
            .create(
                &PostParams::default(),
                &serde_json::from_value(event).unwrap(),
            )
            .await
            .unwrap();
    }
    let event = monitor.until(|line| line["kind"] == "event");
    assert_eq!(event["words"], "Warning PoolExhausted: by ours");
    assert_eq!(event["addresses"], json!(["192.0.2.10"]));
    assert_eq!(monitor.interrupt(), Some(0));

    // Nobody reads, and the pipe is full: it can be interrupted all the same.
    let (reader, mut full) = std::io::pipe().unwrap();
    full.write_all(&[0; 65_536]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .arg("--kubeconfig")
        .arg(cluster.plane.kubeconfig("admin"))
        .args(["monitor", "-A", "--for=60s"])
        .stdout(full)
        .spawn()
        .unwrap();
    while !waits_for_a_reader(&child) {
        assert_eq!(child.try_wait().unwrap(), None);
        tokio::task::yield_now().await;
    }
    assert_eq!(interrupt(&mut child), Some(0));
    drop(reader);

    // Whoever may list and not watch is told what is lacking, and how it stands all the same.
    let said = cluster.run_as("dev", &["monitor", "-n", "blue", "--for=2s"]);
    said.has(
        0,
        &[
            "you may not list loadbalancerips.landfall.dev; the ClusterRole landfall-view permits it",
            "you may not watch services of namespace blue",
        ],
    );
    let nothing = cluster.run_as("dev", &["monitor", "-n", "default", "--for=2s"]);
    assert!(
        nothing.code == 2 && nothing.err.contains("there is nothing to watch"),
        "{nothing:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_frames_are_not_shown_are_named_with_the_reason() {
    let Some(cluster) = Cluster::start("saying which nodes are not looked at").await else {
        return;
    };
    cluster.run(&["install", "--no-wait"]).has(0, &[]);
    cluster.account("landfall-system").await;
    for node in ["node-1", "node-2", "node-3", "node-4"] {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        cluster.apply(None, object).await;
    }
    for (node, interfaces) in [
        (
            "node-1",
            json!([{"name": "eth0", "mac": "02:00:00:00:00:01"}]),
        ),
        ("node-2", json!([])),
    ] {
        let object = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "L2Node", "metadata": {"name": node}, "spec": {"nodeName": node}});
        cluster.apply(None, object).await;
        let nodes: Api<L2Node> = Api::all(cluster.client.clone());
        let status = json!({"status": {"interfaces": interfaces}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&status));
        nodes.patch_status(node, &params, &patch).await.unwrap();
    }
    for node in ["node-1", "node-2", "node-3"] {
        let labels = json!({"app.kubernetes.io/name": "landfall-announcer"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("announcer-of-{node}"), "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "announcer", "image": "announcer"}]}});
        cluster.apply(Some("landfall-system"), pod).await;
    }
    let said = cluster.run(&["monitor", "--frames", "--for=20s"]);
    assert_eq!(said.code, 2, "{said:#?}");
    for words in [
        "node-1: running something in the Pod announcer-of-node-1",
        "node-2: its frames are not shown: it announces on no interface",
        "node-3: its frames are not shown: its announcer has said nothing of it so far",
        "node-4: no announcer runs there",
        "no node shows its frames",
    ] {
        assert!(said.err.contains(words), "no {words}: {said:#?}");
    }
}
