//! What Gateways and their routes cost on a real API server: figures for `target/figures/bench-gateways.json`.
//!
//! A route for every listener, each to two Services by weight. The controller starts with all of them there, and converges;
//! then single routes change, one after the other; then it starts again with nothing to do. No announcer runs, so no
//! Gateway is ever `Programmed`: what is measured is the decision and its writes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use landfall_crds::LoadBalancerIP;
use landfall_crds::gateway_api::{Gateway, TCPRoute};
use landfall_testbed::control_plane::assets;
use serde_json::{Value, json};

use crate::controller::Controller;
use crate::server::{NAMESPACE, Server, each};
use crate::{counts, figure};

const LISTENERS: usize = 4;
const SERVICES: usize = 100;
/// How many routes are changed, one after the other.
const CHANGES: usize = 100;

pub(crate) async fn measure(server: &Server, gateways: usize) -> Vec<Value> {
    install(server).await;
    world(server, gateways).await;
    let of = format!("{gateways} Gateways, {} routes", gateways * LISTENERS);

    let before = server.writes().await;
    let started = Instant::now();
    let controller = Controller::start(server);
    let took = at_rest(&controller, started).await;
    let writes = server.writes().await.since(&before);
    converged(server, gateways).await;
    let (peak, cpu) = controller.cost();

    let before = server.writes().await;
    let (mut records, mut statuses) = (Vec::new(), Vec::new());
    for n in 0..CHANGES {
        let route = n * gateways * LISTENERS / CHANGES;
        let (record, status) = change(server, route).await;
        records.push(record.as_secs_f64() * 1000.0);
        statuses.push(status.as_secs_f64() * 1000.0);
    }
    let change_writes = server.writes().await.since(&before);
    at_rest(&controller, started).await;
    let (changed_peak, _) = controller.cost();
    drop(controller);

    let before = server.writes().await;
    let started = Instant::now();
    let controller = Controller::start(server);
    let restart = at_rest(&controller, started).await;
    let rewrites = server.writes().await.since(&before);
    println!("writes of the restart: {}", rewrites.words());

    let one = |name: &str, value: f64, unit: &str, method: &str| {
        figure(&format!("{name}, {of}"), unit, method, vec![value])
    };
    let counted = format!("apiserver_request_total: {}", writes.words());
    let counted_changes = format!(
        "apiserver_request_total, over {CHANGES} changes, with the bench's own: {}",
        change_writes.words()
    );
    vec![
        one(
            "controller start to at rest",
            took.as_secs_f64(),
            "s",
            "four TCP listeners each, two Services a route; 16 at once; process start and first lists included",
        ),
        one("writes until at rest", counts(writes.total()), "", &counted),
        one("peak memory until at rest", peak, "MB", "VmHWM"),
        one("CPU time until at rest", cpu, "s", "user and system"),
        figure(
            &format!("one route's change, until its record says so, {of}"),
            "ms",
            "from the request to the watch that shows LoadBalancerIP.spec.frontends",
            records,
        ),
        figure(
            &format!("one route's change, until its status says so, {of}"),
            "ms",
            "from the request to the watch that shows observedGeneration",
            statuses,
        ),
        one(
            "writes of a change",
            counts(change_writes.total()) / counts(CHANGES),
            "",
            &counted_changes,
        ),
        one("peak memory with the changes", changed_peak, "MB", "VmHWM"),
        one(
            "restart with nothing to do, until at rest",
            restart.as_secs_f64(),
            "s",
            "everything looked at",
        ),
        one(
            "writes of that restart",
            counts(rewrites.total()),
            "",
            "apiserver_request_total; a leader's Lease is not counted",
        ),
    ]
}

/// The standard's definitions.
async fn install(server: &Server) {
    let definitions = assets::ensure_gateway_api().unwrap();
    for verb in [
        &["apply", "--server-side"][..],
        &["wait", "--for=condition=Established"],
    ] {
        let mut kubectl = server.plane.kubectl();
        kubectl
            .args(verb)
            .arg("-f")
            .arg(&definitions)
            .stdout(Stdio::null());
        assert!(kubectl.status().unwrap().success());
    }
    // What was here before has been measured, and only costs.
    server.afresh(0).await;
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "bench"},
        "spec": {"controllerName": "landfall.dev/gateway-controller"},
    });
    let mut kubectl = server.plane.kubectl();
    let dir = tempfile(&class);
    kubectl
        .args(["apply", "-f"])
        .arg(&dir)
        .stdout(Stdio::null());
    assert!(kubectl.status().unwrap().success());
}

/// A file with an object in it, for kubectl.
fn tempfile(object: &Value) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = dir.join("bench-class.json");
    std::fs::write(&file, object.to_string()).unwrap();
    file
}

fn gateway_name(n: usize) -> String {
    format!("g{n:05}")
}

fn route_name(n: usize) -> String {
    format!("r{n:05}")
}

fn backends(n: usize, weight: u32) -> Value {
    json!([
        {"name": format!("backend-{}", n % SERVICES), "port": 80, "weight": weight},
        {"name": format!("backend-{}", (n + 1) % SERVICES), "port": 80, "weight": 1},
    ])
}

/// Services, Gateways, routes.
async fn world(server: &Server, gateways: usize) {
    let params = PostParams::default();
    let services = Api::<Service>::namespaced(server.client.clone(), NAMESPACE);
    each(SERVICES, async |n| {
        let service = json!({"metadata": {"name": format!("backend-{n}")}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        let service: Service = serde_json::from_value(service).unwrap();
        services.create(&params, &service).await.unwrap();
    })
    .await;
    let all = Api::<Gateway>::namespaced(server.client.clone(), NAMESPACE);
    each(gateways, async |n| {
        let listeners: Vec<Value> = (0..LISTENERS)
            .map(|at| json!({"name": format!("l{at}"), "port": 8000 + at, "protocol": "TCP"}))
            .collect();
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": gateway_name(n)},
            "spec": {"gatewayClassName": "bench", "listeners": listeners},
        });
        let gateway: Gateway = serde_json::from_value(gateway).unwrap();
        all.create(&params, &gateway).await.unwrap();
    })
    .await;
    let routes = Api::<TCPRoute>::namespaced(server.client.clone(), NAMESPACE);
    each(gateways * LISTENERS, async |n| {
        let parent = json!({"name": gateway_name(n / LISTENERS), "sectionName": format!("l{}", n % LISTENERS)});
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": {"name": route_name(n)},
            "spec": {"parentRefs": [parent], "rules": [{"backendRefs": backends(n, 1)}]},
        });
        let route: TCPRoute = serde_json::from_value(route).unwrap();
        routes.create(&params, &route).await.unwrap();
    })
    .await;
}

/// How long until nothing is left to decide or to write.
async fn at_rest(controller: &Controller, since: Instant) -> Duration {
    controller.until("/readyz", |_| true).await;
    let resting = |page: &str| page.contains(r#""atRest":true"#);
    controller.until("/debug/state", resting).await;
    since.elapsed()
}

/// That nothing was left out.
async fn converged(server: &Server, gateways: usize) {
    let all = ListParams::default();
    let list = Api::<Gateway>::namespaced(server.client.clone(), NAMESPACE)
        .list(&all)
        .await
        .unwrap();
    let served = list
        .iter()
        .filter_map(|gateway| gateway.status.as_ref())
        .filter(|status| {
            status.addresses.len() == 1
                && status.listeners.len() == LISTENERS
                && status
                    .listeners
                    .iter()
                    .all(|listener| listener.attached_routes == 1)
        });
    assert_eq!(
        served.count(),
        gateways,
        "Gateways with an address and a route a listener"
    );
    let list = Api::<TCPRoute>::namespaced(server.client.clone(), NAMESPACE)
        .list(&all)
        .await
        .unwrap();
    let well = |route: &&TCPRoute| {
        let parents = route
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.parents);
        !parents.is_empty()
            && parents.iter().all(|parent| {
                parent
                    .conditions
                    .iter()
                    .all(|condition| condition.status == "True")
            })
    };
    assert_eq!(
        list.iter().filter(well).count(),
        gateways * LISTENERS,
        "routes with a good word"
    );
    let list = Api::<LoadBalancerIP>::all(server.client.clone())
        .list(&all)
        .await
        .unwrap();
    let frontends: usize = list.iter().map(|record| record.spec.frontends.len()).sum();
    assert_eq!(frontends, gateways * LISTENERS, "frontends");
}

/// Changes a route; how long until its record, and its status, say so.
async fn change(server: &Server, n: usize) -> (Duration, Duration) {
    let gateways = Api::<Gateway>::namespaced(server.client.clone(), NAMESPACE);
    let gateway = gateways.get(&gateway_name(n / LISTENERS)).await.unwrap();
    let address = gateway.status.unwrap().addresses[0].value.clone();
    let record = landfall_crds::ip_name(address.parse().unwrap());
    let records = Api::<LoadBalancerIP>::all(server.client.clone());
    let routes = Api::<TCPRoute>::namespaced(server.client.clone(), NAMESPACE);
    let port = 8000 + (n % LISTENERS);
    let weight = 7;

    let name = route_name(n);
    let patch = json!({"spec": {"rules": [{"backendRefs": backends(n, weight)}]}});
    let asked = Instant::now();
    let patched = routes
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let generation = patched.metadata.generation;
    let said = async {
        let weighs = |record: Option<&LoadBalancerIP>| {
            record.is_some_and(|record| {
                record.spec.frontends.iter().any(|frontend| {
                    usize::from(frontend.port) == port
                        && frontend
                            .backends
                            .iter()
                            .any(|backend| backend.weight == weight)
                })
            })
        };
        await_condition(records, &record, weighs).await.unwrap();
        asked.elapsed()
    };
    let told = async {
        let observed = |route: Option<&TCPRoute>| {
            let parents = route
                .and_then(|route| route.status.as_ref())
                .map_or(&[][..], |status| &status.parents);
            parents.iter().any(|parent| {
                parent
                    .conditions
                    .iter()
                    .all(|condition| condition.observed_generation == generation)
            })
        };
        await_condition(routes.clone(), &name, observed)
            .await
            .unwrap();
        asked.elapsed()
    };
    tokio::join!(said, told)
}
