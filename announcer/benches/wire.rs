//! What answering costs: in process, and on a segment beside the kernel's own answers.
//!
//! Prints a table and writes `target/figures/bench-wire.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a bench may end here, and its figures are small"
)]

#[path = "../tests/segment/mod.rs"]
mod segment;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use landfall_announcer::link::{IfIndex, Mac, PacketSocket, Protocol};
use landfall_announcer::responder::{Filter, Rate, Settings};
use landfall_announcer::wire::arp::{Arp, Operation};
use landfall_announcer::wire::ndp::{Message, Ndp, group_mac, solicited_node};
use landfall_announcer::wire::schedule::Pace;
use landfall_announcer::wire::{Decision, Interest, buffer, decide};
use segment::{Node, Segment, mac};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 200]);
const OWNED: [u32; 3] = [1, 1_000, 10_000];
/// The flag with which this program runs under valgrind.
const COUNT: &str = "--count-instructions";
/// What valgrind is told to count within.
const COUNTED: &str = "landfall_counted";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, kind, owned] = arguments.as_slice()
        && flag == COUNT
    {
        counted(kind, owned.parse().unwrap());
        return;
    }
    let mut figures = Figures::default();
    for owned in OWNED {
        in_process(&mut figures, owned);
    }
    instructions(&mut figures);
    segment::on_a_segment("the part of bench-wire on a segment", async |segment| {
        on_the_wire(&segment, &mut figures).await;
    });
    segment::on_a_segment("the classic filter in bench-wire", async |segment| {
        classic(&segment, &mut figures).await;
    });
    figures.write();
}

/// The figures file: name, unit, and every sample reduced to its order statistics.
#[derive(Default)]
struct Figures(Vec<serde_json::Value>);

impl Figures {
    fn add(&mut self, name: &str, unit: &str, method: &str, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let at = |share: usize| samples[(samples.len() - 1) * share / 100];
        let (min, median, p99, max) = (at(0), at(50), at(99), at(100));
        println!("{name:<58} {unit:<12} min {min:>10.2}  median {median:>10.2}  p99 {p99:>10.2}");
        self.0.push(serde_json::json!({
            "name": name, "value": median, "unit": unit, "n": samples.len(),
            "min": min, "median": median, "p99": p99, "max": max, "method": method,
        }));
    }

    fn write(&self) {
        let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
            std::path::PathBuf::from,
        );
        std::fs::create_dir_all(folder.join("figures")).unwrap();
        let text = serde_json::to_string_pretty(&self.0).unwrap();
        std::fs::write(folder.join("figures/bench-wire.json"), text + "\n").unwrap();
    }
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0001_0000_u128 + u128::from(number))
}

fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: CLIENT,
        sender: Ipv4Addr::new(192, 0, 2, 200),
        target_mac: Mac::ZERO,
        target,
    };
    let mut out = buffer();
    let length = arp.emit(Mac::BROADCAST, &mut out);
    out[..length].to_vec()
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let message = Message::Solicitation { mac: Some(CLIENT) };
    let ndp = Ndp {
        source: "2001:db8::200".parse().unwrap(),
        destination: group,
        target,
        message,
    };
    let mut out = buffer();
    let length = ndp.emit(CLIENT, group_mac(group), &mut out);
    out[..length].to_vec()
}

type Table = HashMap<(IpAddr, IfIndex), u64>;
type Make = fn(u32) -> Vec<u8>;

const KINDS: [(&str, Make); 2] = [
    ("arp", |number| arp_request(v4(number))),
    ("ndp", |number| solicitation(v6(number))),
];

/// As the responder's.
fn table(owned: u32) -> Table {
    let pairs = (0..owned).flat_map(|number| [IpAddr::V4(v4(number)), IpAddr::V6(v6(number))]);
    pairs.map(|address| ((address, 2), 1)).collect()
}

fn thousand(make: Make, first: u32, owned: u32) -> Vec<Vec<u8>> {
    (0..1_000)
        .map(|number| make(first + number * 7_919 % owned))
        .collect()
}

/// Parsing, look-up and the answer's bytes; how many were answered.
fn decide_all(frames: &[Vec<u8>], table: &Table) -> usize {
    let interest = |address| {
        if table.contains_key(&(address, 2)) {
            Interest::Owned
        } else {
            Interest::None
        }
    };
    let mut out = buffer();
    let mut answered = 0;
    for frame in frames {
        let decision = decide(black_box(frame), mac(11), interest, |_| false, &mut out);
        answered += usize::from(matches!(decision, Decision::Answer(_)));
        black_box(&out);
    }
    answered
}

/// Without the sockets.
fn in_process(figures: &mut Figures, owned: u32) {
    let table = table(owned);
    let method = "a batch is 1,000 different frames, parsed, looked up and answered into a buffer; hash table as the responder's";
    for (kind, make) in KINDS {
        for (what, first, expected) in [("answered", 0, 1_000), ("foreign", 1 << 20, 0)] {
            let frames = thousand(make, first, owned);
            let batch = || {
                let begin = Instant::now();
                assert_eq!(decide_all(&frames, &table), expected);
                begin.elapsed().as_nanos() as f64 / frames.len() as f64
            };
            let samples = (0..300).map(|_| batch()).collect();
            figures.add(
                &format!("in process, {kind} {what}, {owned} owned"),
                "ns/frame",
                method,
                samples,
            );
        }
    }
}

/// What valgrind counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn landfall_counted(frames: &Vec<Vec<u8>>, table: &Table) -> usize {
    decide_all(frames, table)
}

fn counted(kind: &str, owned: u32) {
    let (_, make) = KINDS.into_iter().find(|(known, _)| *known == kind).unwrap();
    let (frames, table) = (thousand(make, 0, owned), table(owned));
    assert_eq!(landfall_counted(&frames, &table), 1_000);
}

/// Instructions of look-up and answer: free of whatever else runs here.
fn instructions(figures: &mut Figures) {
    for (kind, _) in KINDS {
        for owned in OWNED {
            let output = std::process::Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(format!("--toggle-collect={COUNTED}"))
                .arg(std::env::current_exe().unwrap())
                .args([COUNT, kind, &owned.to_string()])
                .output();
            let Ok(output) = output else {
                eprintln!("SKIPPED (needs valgrind): the instruction counts of bench-wire");
                return;
            };
            let text = segment::text(&output);
            let collected = text
                .lines()
                .find_map(|line| line.split_once("Collected :"))
                .map(|(_, count)| count.trim().parse::<f64>());
            let Some(Ok(collected)) = collected else {
                panic!("valgrind said no count: {text}");
            };
            figures.add(
                &format!("in process, {kind} answered, {owned} owned"),
                "instructions/frame",
                "callgrind's count over 1,000 different frames",
                vec![collected / 1_000.0],
            );
        }
    }
}

/// Time this thread, and nobody else, has spent on a processor.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Nothing is held back, and the announcements, which are not what is measured, leave at once and once.
fn settings(filter: Filter) -> Settings {
    let unlimited = Rate {
        per_second: 10_000_000,
        burst: 1_000_000,
    };
    let pace = Pace {
        repeats: 0,
        interval: Duration::from_secs(1),
        frames_per_second: 1_000_000,
        burst: 100_000,
    };
    Settings {
        answers: unlimited,
        frames: unlimited,
        pace,
        filter,
        ..Settings::default()
    }
}

/// Owns so many addresses, and has announced them.
async fn own(node: &mut Node, owned: u32) {
    let eth0 = node.link("eth0").await;
    let addresses: BTreeMap<IpAddr, BTreeSet<IfIndex>> = (0..owned)
        .map(|number| (IpAddr::V4(v4(number)), BTreeSet::from([eth0])))
        .collect();
    node.responder.set_owned(addresses);
    node.responder.wait_listening(eth0).await;
    let announced = || {
        node.responder
            .counters()
            .interfaces
            .iter()
            .map(|interface| interface.announced)
            .sum::<u64>()
    };
    let mut before = 0;
    segment::settled(
        "all announcements have left",
        Duration::from_millis(500),
        || std::mem::replace(&mut before, announced()) == announced(),
    )
    .await;
}

async fn on_the_wire(segment: &Segment, figures: &mut Figures) {
    let mut node = Node::with(settings(Filter::Best)).await;
    for owned in OWNED {
        own(&mut node, owned).await;
        for rate in [200, 2_000, 0] {
            measure(segment, figures, owned, rate).await;
        }
        foreign(segment, figures, owned, "").await;
    }
}

/// The same questions about others where eBPF is not permitted.
async fn classic(segment: &Segment, figures: &mut Figures) {
    let mut node = Node::with(settings(Filter::Classic)).await;
    for owned in OWNED {
        own(&mut node, owned).await;
        foreign(segment, figures, owned, ", classic filter").await;
    }
}

async fn foreign(segment: &Segment, figures: &mut Figures, owned: u32, filter: &str) {
    let count = 6_000;
    let question = arp_request(Ipv4Addr::new(10, 65, 0, 1));
    let run = ask(segment, vec![question; count as usize], 2_000, false).await;
    figures.add(
        &format!("on the wire, 2000/s, {owned} owned: CPU per foreign frame{filter}"),
        "us/frame",
        CPU_METHOD,
        vec![cpu_per_frame(&run, count)],
    );
}

const CPU_METHOD: &str =
    "CPU time of the responder's thread, its sends through the veth included, by the frames asked";

fn cpu_per_frame(run: &Run, count: u32) -> f64 {
    run.cpu.as_nanos() as f64 / f64::from(count) / 1_000.0
}

struct Run {
    latencies: Vec<f64>,
    cpu: Duration,
    took: Duration,
}

async fn measure(segment: &Segment, figures: &mut Figures, owned: u32, rate: u32) {
    let count = match rate {
        200 => 600,
        2_000 => 6_000,
        _ => 20_000,
    };
    let paced = if rate == 0 {
        "flat out".to_owned()
    } else {
        format!("{rate}/s")
    };
    let method = "one client asks and awaits the answer, then waits for its turn; veth and bridge; client's own costs included";
    let ours = ask(
        segment,
        (0..count)
            .map(|n| arp_request(v4(n * 7_919 % owned)))
            .collect(),
        rate,
        true,
    )
    .await;
    let kernel = ask(
        segment,
        vec![arp_request(Ipv4Addr::new(192, 0, 2, 11)); count as usize],
        rate,
        true,
    )
    .await;
    let name = |what: &str| format!("on the wire, {paced}, {owned} owned: {what}");
    figures.add(&name("latency"), "us", method, ours.latencies.clone());
    figures.add(
        &name("latency of the kernel's own answer"),
        "us",
        method,
        kernel.latencies.clone(),
    );
    figures.add(
        &name("CPU per answered frame"),
        "us/frame",
        CPU_METHOD,
        vec![cpu_per_frame(&ours, count)],
    );
    figures.add(
        &name("answers"),
        "frames/s",
        method,
        vec![f64::from(count) / ours.took.as_secs_f64()],
    );
    figures.add(
        &name("answers of the kernel's own"),
        "frames/s",
        method,
        vec![f64::from(count) / kernel.took.as_secs_f64()],
    );
}

/// Sends the questions from the client while this thread, the responder's, answers them.
async fn ask(segment: &Segment, frames: Vec<Vec<u8>>, rate: u32, answered: bool) -> Run {
    let namespace = segment.name("client");
    let (done, finished) = tokio::sync::oneshot::channel();
    let (began, cpu) = (Instant::now(), thread_cpu());
    std::thread::spawn(move || {
        segment::enter(&namespace);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let latencies = runtime.block_on(client(&frames, rate, answered));
        done.send((latencies, began.elapsed())).unwrap();
    });
    let (latencies, took) = finished.await.unwrap();
    Run {
        latencies,
        cpu: thread_cpu() - cpu,
        took,
    }
}

async fn client(frames: &[Vec<u8>], rate: u32, answered: bool) -> Vec<f64> {
    let socket = PacketSocket::open(
        nix::net::if_::if_nametoindex("eth0").unwrap(),
        Protocol::Arp,
    )
    .unwrap();
    let (mut buffer, mut latencies, mut turn) =
        ([0; 2_048], Vec::with_capacity(frames.len()), Instant::now());
    for frame in frames {
        if rate > 0 {
            turn += Duration::from_secs(1) / rate;
            std::thread::sleep(turn.saturating_duration_since(Instant::now()));
        }
        let sent = Instant::now();
        socket.send(frame).unwrap();
        if answered {
            answer_to(frame, &socket, &mut buffer).await;
        }
        latencies.push(sent.elapsed().as_nanos() as f64 / 1_000.0);
    }
    latencies
}

/// Waits for the reply whose sender is the target of the question.
async fn answer_to(question: &[u8], socket: &PacketSocket, buffer: &mut [u8]) {
    loop {
        let received = tokio::time::timeout(Duration::from_secs(5), socket.receive(buffer));
        let length = received.await.unwrap().unwrap();
        if length >= 42 && buffer[20..22] == [0, 2] && buffer[28..32] == question[38..42] {
            return;
        }
    }
}
