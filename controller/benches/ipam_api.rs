//! What 10,000 waiting Services cost on a real API server: figures for
//! `target/figures/bench-ipam-api.json`.
//!
//! The bare loop does as many writes of the same kinds, at the same parallelism, through the same
//! client: what is left is the controller's own cost. `LANDFALL_BENCH_SERVICES` sets the number.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::{
    Holder, LoadBalancerIP, LoadBalancerIPPool, LoadBalancerIPSpec, PoolRef, ip_name,
};
use landfall_e2e::control_plane::{ControlPlane, Options};
use landfall_runtime::events::{Events, Note};
use serde_json::{Value, json};

const PARALLEL: usize = 16;
const NAMESPACE: &str = "default";

fn service(n: usize) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": format!("s{n:05}"), "namespace": NAMESPACE},
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "selector": {"app": "web"}, "ports": [{"port": 80}],
        },
    }))
    .unwrap()
}

async fn each(count: usize, work: impl AsyncFn(usize)) -> Duration {
    let start = Instant::now();
    futures::stream::iter(0..count)
        .for_each_concurrent(PARALLEL, |n| work(n))
        .await;
    start.elapsed()
}

/// As many writes of the same kinds as the controller does: record, status, Event.
async fn bare_loop(client: &Client, count: usize) -> Duration {
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    let records = Api::<LoadBalancerIP>::all(client.clone());
    let events = Events::new(client.clone(), "landfall-controller", "bench");
    each(count, async |n| {
        let address = format!("10.9.{}.{}", n / 256, n % 256);
        let holder = Holder { kind: "Service".to_owned(), namespace: NAMESPACE.to_owned(), name: format!("s{n:05}"), uid: "00000000-0000-4000-8000-000000000000".to_owned() };
        let spec = LoadBalancerIPSpec { address: address.clone(), holders: vec![holder], pool_ref: Some(PoolRef { name: "default".to_owned() }), ..LoadBalancerIPSpec::default() };
        let metadata = ObjectMeta { name: Some(ip_name(address.parse().unwrap())), ..ObjectMeta::default() };
        let record = LoadBalancerIP { metadata, spec, status: None };
        records.create(&PostParams::default(), &record).await.unwrap();
        let name = format!("s{n:05}");
        let status = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}, "conditions": [{
                "type": "example.com/Bare", "status": "True", "reason": "Assigned",
                "message": format!("IPv4 {address} from pool default"), "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        services.patch_status(&name, &PatchParams::apply("bare").force(), &Patch::Apply(status)).await.unwrap();
        let regarding = ObjectReference {
            kind: Some("Service".to_owned()), namespace: Some(NAMESPACE.to_owned()),
            name: Some(name), ..ObjectReference::default()
        };
        let note = Note { warning: false, reason: "Assigned".to_owned(), action: "AssignAddress", note: address };
        events.publish(regarding, note, Timestamp::now()).await.unwrap();
    })
    .await
}

fn controller(plane: &ControlPlane, port: u16) -> Child {
    Command::new(env!("CARGO_BIN_EXE_landfall-controller"))
        .env("KUBECONFIG", plane.kubeconfig("admin"))
        .args(["--leader-elect", "false", "--log-level", "error"])
        .args(["--parallel-writes", &PARALLEL.to_string()])
        .args(["--admin-address", &format!("127.0.0.1:{port}")])
        .spawn()
        .unwrap()
}

async fn addressed(client: &Client) -> usize {
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    let all = services.list(&ListParams::default()).await.unwrap();
    let has = |service: &Service| {
        service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref())
            .is_some()
    };
    all.iter().filter(|service| has(service)).count()
}

/// Events the controller has written, and the server has kept, so far.
async fn events_of_controller(client: &Client) -> usize {
    let events = Api::<Event>::namespaced(client.clone(), NAMESPACE);
    let all = events.list(&ListParams::default()).await.unwrap();
    let ours = |event: &&Event| event.reporting_instance.as_deref() != Some("bench");
    all.iter().filter(ours).count()
}

async fn metric(port: u16, name: &str) -> f64 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
        return 0.0;
    };
    let mut text = String::new();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

async fn ready(port: u16) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let mut text = String::new();
    let request = b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.is_ok()
        && stream.read_to_string(&mut text).await.is_ok()
        && text.starts_with("HTTP/1.1 200")
}

/// Peak memory in MB, and CPU seconds.
fn cost(child: &Child) -> (f64, f64) {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    let status = read("status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: f64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<f64>().unwrap())
        .sum();
    (kilobytes / 1024.0, ticks / 100.0)
}

async fn versions(client: &Client) -> Vec<(String, Option<String>)> {
    let all = ListParams::default();
    let mut versions = Vec::new();
    for service in Api::<Service>::namespaced(client.clone(), NAMESPACE)
        .list(&all)
        .await
        .unwrap()
    {
        versions.push((service.name_any(), service.resource_version()));
    }
    for record in Api::<LoadBalancerIP>::all(client.clone())
        .list(&all)
        .await
        .unwrap()
    {
        versions.push((record.name_any(), record.resource_version()));
    }
    versions
}

fn figure(name: &str, value: f64, unit: &str, method: &str) -> Value {
    println!("{name:<52} {value:>12.3} {unit}");
    json!({"name": name, "value": value, "unit": unit, "n": 1, "method": method})
}

#[tokio::main]
#[expect(clippy::cast_precision_loss, reason = "counts of Services are small")]
async fn main() {
    let count = std::env::var("LANDFALL_BENCH_SERVICES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10_000);
    let Some(mut options) = Options::for_test("bench ipam_api") else {
        return;
    };
    options
        .api_server_flags
        .push("--max-requests-inflight=4000".to_owned());
    options
        .api_server_flags
        .push("--max-mutating-requests-inflight=2000".to_owned());
    let plane = ControlPlane::start(options).await.unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/default");
    assert!(
        plane
            .kubectl()
            .arg("apply")
            .arg("-k")
            .arg(tree)
            .output()
            .unwrap()
            .status
            .success()
    );
    let client = plane.client().await.unwrap();
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    each(count, async |n| {
        drop(
            services
                .create(&PostParams::default(), &service(n))
                .await
                .unwrap(),
        )
    })
    .await;

    let bare = bare_loop(&client, count).await;
    // What the bare loop wrote goes, so that the Services wait again.
    let records = Api::<LoadBalancerIP>::all(client.clone());
    records
        .delete_collection(&Default::default(), &ListParams::default())
        .await
        .unwrap();
    each(count, async |n| {
        let empty = json!({"status": {"loadBalancer": null, "conditions": null}});
        let patch = Patch::Merge(empty);
        services
            .patch_status(&format!("s{n:05}"), &PatchParams::default(), &patch)
            .await
            .unwrap();
    })
    .await;
    let pool: LoadBalancerIPPool = serde_json::from_value(json!({
        "metadata": {"name": "default"}, "spec": {"blocks": [{"cidr": "10.9.0.0/16"}]},
    }))
    .unwrap();
    let pools = Api::<LoadBalancerIPPool>::all(client.clone());
    pools.create(&PostParams::default(), &pool).await.unwrap();

    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let start = Instant::now();
    let mut child = controller(&plane, port);
    while metric(port, "landfall_allocation_latency_seconds_count").await < count as f64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ours = start.elapsed();
    let writes = 2 * count + events_of_controller(&client).await;
    assert_eq!(addressed(&client).await, count);
    let (peak, cpu) = cost(&child);
    let dropped = metric(port, "landfall_events_dropped_total").await;
    child.kill().unwrap();
    child.wait().unwrap();

    let before = versions(&client).await;
    let start = Instant::now();
    let mut child = controller(&plane, port);
    while !ready(port).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let restart = start.elapsed();
    // A newcomer that is answered proves that everything before it has been looked at.
    services
        .create(&PostParams::default(), &service(count))
        .await
        .unwrap();
    while addressed(&client).await <= count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = versions(&client).await;
    let rewrites = before.iter().filter(|old| !after.contains(old)).count();
    child.kill().unwrap();
    child.wait().unwrap();

    let of = format!("{count} Services");
    let figures = [
        figure(
            &format!("bare loop, {of}"),
            bare.as_secs_f64(),
            "s",
            "record, status, Event each; 16 at once",
        ),
        figure(
            &format!("controller start to last address, {of}"),
            ours.as_secs_f64(),
            "s",
            "16 at once",
        ),
        figure(
            "bare loop to controller",
            bare.as_secs_f64() / ours.as_secs_f64(),
            "x",
            "ratio of the two",
        ),
        figure(
            "writes a Service until then",
            writes as f64 / count as f64,
            "",
            "record, status, and the Events written so far",
        ),
        figure(
            "bare loop to controller, by write",
            bare.as_secs_f64() / ours.as_secs_f64() * writes as f64 / (3 * count) as f64,
            "x",
            "time of a write of the bare loop to time of one of the controller",
        ),
        figure("Events dropped under load", dropped, "", "metric"),
        figure("peak memory", peak, "MB", "VmHWM"),
        figure("CPU time", cpu, "s", "user and system"),
        figure(
            "restart with nothing to do, until ready",
            restart.as_secs_f64(),
            "s",
            "all watches synced",
        ),
        figure(
            "writes of that restart",
            rewrites as f64,
            "",
            "resourceVersions that changed",
        ),
    ];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/figures");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("bench-ipam-api.json"),
        serde_json::to_string_pretty(&figures).unwrap(),
    )
    .unwrap();
}
