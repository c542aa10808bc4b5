//! What answering costs: in process, and on a segment beside the kernel's own answers.
//!
//! Prints a table and writes `target/figures/bench-wire.json`. Where there is a ratio, both sides were asked in turn,
//! in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a bench may end here, and its figures are small"
)]

mod client;
mod figures;
mod process;
mod questions;
#[path = "../../tests/segment/mod.rs"]
mod segment;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_announcer::responder::{Filter, Settings};
use landfall_wire::schedule::Pace;

use client::Run;
use figures::Figures;
use questions::{ARP, FAMILIES, FOREIGN, Family, addresses, many};
use segment::{Node, Segment};

const OWNED: [u32; 3] = [1, 1_000, 10_000];
/// Questions under way at once, when it is about how many can be answered.
const WINDOW: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, kind, owned] = arguments.as_slice()
        && flag == process::COUNT
    {
        process::counted(kind, owned.parse().unwrap());
        return;
    }
    let mut figures = Figures::default();
    process::times(&mut figures);
    process::instructions(&mut figures);
    segment::on_a_segment("the part of bench-wire on a segment", async |segment| {
        on_the_wire(&segment, &mut figures).await;
    });
    segment::on_a_segment("the classic filter in bench-wire", async |segment| {
        classic(&segment, &mut figures).await;
    });
    segment::on_a_segment("the floods of bench-wire", async |segment| {
        floods(&segment, &mut figures).await;
    });
    figures.write("wire");
}

/// Nothing is held back, and the announcements, which are not what is measured, leave at once and once.
fn settings(filter: Filter) -> Settings {
    let pace = Pace {
        repeats: 0,
        interval: Duration::from_secs(1),
        frames_per_second: 1_000_000,
        burst: 100_000,
    };
    segment::unlimited(Settings {
        pace,
        filter,
        ..Settings::default()
    })
}

/// Owns so many addresses of each family, and has announced them.
async fn own(node: &mut Node, owned: u32) {
    let eth0 = node.link("eth0").await;
    let on = BTreeSet::from([eth0]);
    let addresses = addresses(owned).map(|address| (address, on.clone()));
    node.responder.set_owned(addresses.collect());
    node.responder.wait_listening(eth0).await;
    let announced = || {
        let counters = node.responder.counters();
        counters.interfaces.iter().map(|seen| seen.announced).sum()
    };
    let mut before: u64 = 0;
    let quiet = || std::mem::replace(&mut before, announced()) == announced();
    let long = Duration::from_millis(500);
    segment::settled("all announcements have left", long, quiet).await;
}

async fn on_the_wire(segment: &Segment, figures: &mut Figures) {
    let mut node = Node::with(settings(Filter::Best)).await;
    for owned in OWNED {
        own(&mut node, owned).await;
        for family in FAMILIES {
            for (rate, count) in [(200, 400), (2_000, 4_000)] {
                paced(segment, figures, family, owned, rate, count).await;
            }
            flat_out(segment, figures, family, owned).await;
            foreign(segment, figures, family, owned, "").await;
        }
    }
}

/// The same questions about others where eBPF is not permitted.
async fn classic(segment: &Segment, figures: &mut Figures) {
    let mut node = Node::with(settings(Filter::Classic)).await;
    for owned in OWNED {
        own(&mut node, owned).await;
        foreign(segment, figures, ARP, owned, ", classic filter").await;
    }
}

const CPU: &str = "CPU time of all threads of the node, their sends through veth and bridge included, by the frames";

fn microseconds(cpu: Duration, frames: usize) -> f64 {
    cpu.as_nanos() as f64 / frames as f64 / 1_000.0
}

/// One question at a time, ours and the kernel's in turn.
async fn paced(
    segment: &Segment,
    figures: &mut Figures,
    family: Family,
    owned: u32,
    rate: u32,
    count: u32,
) {
    let frames = count as usize;
    let lists = [
        many(family, count, 0, owned),
        vec![(family.ask_kernel)(); frames],
    ];
    let body = move |client: &mut client::Client| client.ask(family, &lists, rate);
    let Run {
        outcome: [ours, kernel],
        cpu,
    } = client::run(segment, family.protocol, body).await;
    let name = |what: &str| {
        let family = family.name;
        format!("on the wire, {family} {rate}/s, {owned} owned: {what}")
    };
    let method = "one client asks, polls and reads the answer, ours and the kernel's in turn, each at this rate; veth and bridge; client's own costs included";
    let ours = figures.add(&name("latency"), "us", method, ours);
    let kernel = figures.add(&name("latency of the kernel"), "us", method, kernel);
    let ratio = "of the medians of the same run";
    figures.one(
        &name("latency, ours to the kernel's"),
        "x",
        ratio,
        ours / kernel,
    );
    let cost = microseconds(cpu, frames);
    figures.one(&name("CPU per answered frame"), "us/frame", CPU, cost);
}

/// As many as can be, ours and the kernel's in turn.
async fn flat_out(segment: &Segment, figures: &mut Figures, family: Family, owned: u32) {
    let (rounds, batch) = (5_usize, 10_000_u32);
    let frames = batch as usize;
    let (ours, kernel) = (
        many(family, batch, 0, owned),
        vec![(family.ask_kernel)(); frames],
    );
    let body = move |client: &mut client::Client| {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (questions, rates) in [&ours, &kernel].into_iter().zip(&mut rates) {
                let took = client.flood(family, questions, WINDOW);
                rates.push(frames as f64 / took.as_secs_f64());
            }
        }
        rates
    };
    let Run {
        outcome: [ours, kernel],
        cpu,
    } = client::run(segment, family.protocol, body).await;
    let name = |what: &str| {
        let family = family.name;
        format!("on the wire, {family} flat out, {owned} owned: {what}")
    };
    let method = "one client keeps 64 questions under way; batches of 10,000, ours and the kernel's in turn; veth and bridge";
    let ours = figures.add(&name("answers"), "frames/s", method, ours);
    let kernel = figures.add(&name("answers of the kernel"), "frames/s", method, kernel);
    let ratio = "of the medians of the same run";
    figures.one(
        &name("answers, ours to the kernel's"),
        "x",
        ratio,
        ours / kernel,
    );
    let cost = microseconds(cpu, frames * rounds);
    figures.one(&name("CPU per answered frame"), "us/frame", CPU, cost);
    let method = "answered frames by the CPU time of all threads of the node: what one core would answer if nobody else needed it";
    figures.one(&name("answers on one core"), "frames/s", method, 1e6 / cost);
}

/// Questions about addresses of others.
async fn foreign(
    segment: &Segment,
    figures: &mut Figures,
    family: Family,
    owned: u32,
    filter: &str,
) {
    let (rate, count) = (2_000, 3_000);
    let questions = many(family, count, FOREIGN, 10_000);
    let body = move |client: &mut client::Client| client.shout(&questions, rate);
    let run = client::run(segment, family.protocol, body).await;
    let family = family.name;
    let name =
        format!("on the wire, {family} {rate}/s, {owned} owned: CPU per foreign frame{filter}");
    figures.one(
        &name,
        "us/frame",
        CPU,
        microseconds(run.cpu, count as usize),
    );
}

/// More than may be looked at, with the limits a node has by default.
async fn floods(segment: &Segment, figures: &mut Figures) {
    let mut node = Node::with(Settings {
        pace: settings(Filter::Best).pace,
        ..Settings::default()
    })
    .await;
    own(&mut node, 1).await;
    for family in FAMILIES {
        let questions = many(family, 60_000, 0, 1);
        let body = move |client: &mut client::Client| {
            let began = Instant::now();
            client.shout(&questions, 50_000);
            began.elapsed()
        };
        let Run { outcome, cpu } = client::run(segment, family.protocol, body).await;
        let name = format!("on the wire, a flood of {}: share of a core", family.name);
        let method = "60,000 questions about an owned address as fast as one client sends them, at most 50,000 a second, the limits as by default: CPU time of all threads of the node, by the time it lasted";
        figures.one(
            &name,
            "x",
            method,
            cpu.as_secs_f64() / outcome.as_secs_f64(),
        );
    }
}
