//! What waiting Services cost on a real API server: figures for
//! `target/figures/bench-ipam-api.json`.
//!
//! The controller runs first, and the API server counts its writes. Then a bare loop makes as many
//! writes of each of these kinds, at the same parallelism, through the same client, on Services
//! made afresh: what is left is the controller's own cost. This three times over; then once with
//! more Services for the absolute figures and a restart with nothing to do.
//! Called with `gateways`, it measures those instead: [`gateways`]. `LANDFALL_BENCH_SERVICES` sets the numbers: `3000` for both, `3000,10000` for each.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::cast_precision_loss, reason = "counts of Services are small")]

mod bare;
mod controller;
mod gateways;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use controller::{Controller, value};
use server::{Server, Writes};

/// How often controller and bare loop take turns.
const TURNS: usize = 3;
const LATENCY_COUNT: &str = "landfall_allocation_latency_seconds_count";

/// A run of the controller from its start to the last of the addresses.
struct Run {
    controller: Controller,
    took: Duration,
    writes: Writes,
}

async fn run(server: &Server, count: usize) -> Run {
    server.afresh(count).await;
    let before = server.writes().await;
    let controller = Controller::start(server);
    let all = |page: &str| value(page, LATENCY_COUNT) >= count as f64;
    controller.until("/metrics", all).await;
    let took = controller.age();
    let writes = server.writes().await.since(&before);
    assert_eq!(server.addressed().await, count);
    Run {
        controller,
        took,
        writes,
    }
}

fn figure(name: &str, unit: &str, method: &str, mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    let (min, max) = (samples[0], samples[samples.len() - 1]);
    let median = samples[samples.len() / 2];
    println!(
        "{name:<60} {median:>12.3} {unit:<3} (min {min:.3}, max {max:.3}, n {})",
        samples.len()
    );
    json!({
        "name": name, "value": median, "unit": unit, "n": samples.len(),
        "min": min, "median": median, "max": max, "method": method,
    })
}

/// Controller and bare loop in turn.
async fn compare(server: &Server, count: usize) -> Vec<Value> {
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut each, mut words) = (Vec::new(), String::new());
    for _ in 0..TURNS {
        let Run {
            controller,
            took,
            writes,
        } = run(server, count).await;
        drop(controller);
        server.afresh(count).await;
        let before = server.writes().await;
        let loop_took = bare::run(server, count, &writes).await;
        let loop_writes = server.writes().await.since(&before);
        words = writes.words();
        println!(
            "controller {took:?}: {words}; bare loop {loop_took:?}: {}",
            loop_writes.words()
        );
        assert_eq!(loop_writes.total(), writes.total());
        ours.push(took.as_secs_f64());
        bare.push(loop_took.as_secs_f64());
        ratios.push(loop_took.as_secs_f64() / took.as_secs_f64());
        each.push(writes.total() as f64 / count as f64);
    }
    let of = format!("{count} Services");
    let counted = format!("apiserver_request_total, the last time: {words}");
    vec![
        figure(
            &format!("controller start to last address, {of}"),
            "s",
            "16 at once; process start and first lists included",
            ours,
        ),
        figure(
            &format!("bare loop, {of}"),
            "s",
            "as many writes of each kind as the controller made; 16 at once",
            bare,
        ),
        figure(
            "controller to bare loop",
            "x",
            "speed: the loop's time by the controller's, in turn",
            ratios,
        ),
        figure(
            &format!("writes a Service until the last address, {of}"),
            "",
            &counted,
            each,
        ),
    ]
}

/// One run with more Services, and a restart after it.
async fn absolute(server: &Server, count: usize) -> Vec<Value> {
    let Run {
        controller,
        took,
        writes,
    } = run(server, count).await;
    let (peak, cpu) = controller.cost();
    let dropped = controller.metric("landfall_events_dropped_total").await;
    let resting = |page: &str| page.contains(r#""atRest":true"#);
    controller.until("/debug/state", resting).await;
    drop(controller);

    let before = server.writes().await;
    let start = Instant::now();
    let controller = Controller::start(server);
    controller.until("/readyz", |_| true).await;
    let ready = start.elapsed();
    controller.until("/debug/state", resting).await;
    let rest = start.elapsed();
    let rewrites = server.writes().await.since(&before);
    let (restart_peak, _) = controller.cost();
    println!("writes of the restart: {}", rewrites.words());

    let of = format!("{count} Services");
    let one = |name: &str, value: f64, unit: &str, method: &str| {
        figure(&format!("{name}, {of}"), unit, method, vec![value])
    };
    let counted = format!("apiserver_request_total: {}", writes.words());
    vec![
        one(
            "controller start to last address",
            took.as_secs_f64(),
            "s",
            "16 at once",
        ),
        one(
            "writes a Service until the last address",
            writes.total() as f64 / count as f64,
            "",
            &counted,
        ),
        one("Events dropped under load", dropped, "", "metric"),
        one("peak memory", peak, "MB", "VmHWM"),
        one("CPU time", cpu, "s", "user and system"),
        one(
            "restart with nothing to do, until ready",
            ready.as_secs_f64(),
            "s",
            "all watches synced",
        ),
        one(
            "restart with nothing to do, until at rest",
            rest.as_secs_f64(),
            "s",
            "every Service and pool looked at",
        ),
        one(
            "writes of that restart",
            rewrites.total() as f64,
            "",
            "apiserver_request_total of Services, LoadBalancerIPs, pools and Events; a leader's Lease is not counted",
        ),
        one("peak memory of that restart", restart_peak, "MB", "VmHWM"),
    ]
}

#[tokio::main]
async fn main() {
    let set = std::env::var("LANDFALL_BENCH_SERVICES").unwrap_or_default();
    let mut numbers = set.split(',').filter_map(|n| n.trim().parse().ok());
    let first: Option<usize> = numbers.next();
    let compared = first.unwrap_or(3_000);
    let absolutely = numbers.next().or(first).unwrap_or(10_000);
    let Some(server) = Server::start().await else {
        return;
    };
    if std::env::args().any(|argument| argument == "gateways") {
        let all = gateways::measure(&server, first.unwrap_or(500)).await;
        return write("bench-gateways.json", &all);
    }
    let mut figures = compare(&server, compared).await;
    figures.extend(absolute(&server, absolutely).await);
    write("bench-ipam-api.json", &figures);
}

fn write(file: &str, figures: &[Value]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/figures");
    std::fs::create_dir_all(&dir).unwrap();
    let text = serde_json::to_string_pretty(figures).unwrap();
    std::fs::write(dir.join(file), text).unwrap();
}

/// A count as a figure.
fn counts(count: usize) -> f64 {
    count as f64
}
