//! What a packet costs in the data path, in raw nanoseconds, by `BPF_PROG_TEST_RUN`.
//!
//! Each round runs every case once, one after the other, so that whatever slows the machine down
//! slows all of them down. The kernel changes nothing between repetitions, so each program runs
//! behind a prologue that writes the packet anew (and its next source port); the prologue alone is
//! a case of its own, and is part of every other figure but the empty program's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{Program, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use etherparse::PacketBuilder;
use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Frontend, Hop, Interface, Placement, PodId, Protocol,
    Vip,
};
use landfall_bpf_lb::{Director, Settings, object};
use landfall_bpf_lb_common::headers::{ACK, SYN};
use landfall_bpf_lb_common::records::{
    ConnectionEntry4, ConnectionEntry6, ConnectionKey4, ConnectionKey6,
};
use landfall_bpf_lb_common::{flow, names};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 15;
const OWN: [u8; 6] = [0x02, 0x4c, 0x46, 0, 0, 1];
const HOP: [u8; 6] = [0x02, 0x4c, 0x46, 0, 0, 2];
const CLIENT: [u8; 6] = [0x02, 0, 0, 0, 0, 0xc1];
const MANY: u32 = 65_536;
/// As far apart are the ports of two packets in a row, in `ebpf/src/bench.rs`.
const STRIDE: u32 = 40_503;
const PASS: u32 = 2;
const TX: u32 = 3;

/// One thing to measure.
struct Case {
    name: &'static str,
    ebpf: Ebpf,
    program: &'static str,
    frame: Vec<u8>,
    action: u32,
    samples: Vec<f64>,
}

fn main() -> Result<()> {
    // `cargo test --benches` and `cargo bench -- --list` want nothing measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED (needs root): bench xdp");
        return Ok(());
    }
    let ifindex = namespaces()?;
    // Room for every flow of every case.
    let settings = Settings {
        half_open4: 4 * MANY,
        half_open6: 4 * MANY,
        connections6: 4 * MANY,
        ..Settings::new("/sys/fs/landfall")
    };
    let mut director = Director::load(&settings)?;
    let applied = director.apply(&desired(ifindex))?;
    ensure!(applied.refused.is_empty(), "refused: {:?}", applied.refused);
    ensure!(applied.problems.is_empty(), "{:?}", applied.problems);
    let mut cases = cases(&settings)?;
    // A run that opens the connections, and one for caches and the branch predictor.
    for case in &mut cases {
        case.say(SYN)?;
        case.run(ifindex)?;
    }
    establish(&settings)?;
    for case in &mut cases {
        case.say(ACK)?;
        case.run(ifindex)?;
    }
    for _ in 0..ROUNDS {
        for case in &mut cases {
            let nanoseconds = case.run(ifindex)?;
            case.samples.push(nanoseconds);
        }
    }
    report(&mut cases)
}

/// Confirms every connection of the first run, as its client would once the pod has answered: in the order in which
/// they were opened, which is the order in which the runs visit them. In any other order each look-up
/// would meet memory that nothing has fetched ahead.
fn establish(settings: &Settings) -> Result<()> {
    let maps = settings.pin_dir.join("maps");
    let open = |name| MapData::from_pin(maps.join(name));
    let mut order = vec![0; MANY as usize];
    for run in 1..=MANY {
        order[(run.wrapping_mul(STRIDE) % MANY) as usize] = run;
    }
    macro_rules! confirm {
        ($half_open:expr, $connections:expr, $key:ty, $entry:ty) => {
            let half_open: HashMap<_, $key, $entry> =
                Map::LruHashMap(open($half_open)?).try_into()?;
            let mut connections: HashMap<_, $key, $entry> =
                Map::HashMap(open($connections)?).try_into()?;
            let mut found = half_open
                .iter()
                .collect::<Result<Vec<($key, $entry)>, _>>()?;
            found.sort_by_key(|(key, _)| order[usize::from(u16::from_be(key.client_port))]);
            for (key, mut entry) in found {
                entry.state.confirmed_by = 0;
                connections.insert(key, entry, 0)?;
            }
        };
    }
    confirm!(
        names::HALF_OPEN4,
        names::CONNECTIONS4,
        ConnectionKey4,
        ConnectionEntry4
    );
    confirm!(
        names::HALF_OPEN6,
        names::CONNECTIONS6,
        ConnectionKey6,
        ConnectionEntry6
    );
    Ok(())
}

/// A network namespace with an interface, and a bpffs of our own; they end with this process.
fn namespaces() -> Result<u32> {
    landfall_testbed::netns::isolate()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("bpf"), "/sys/fs", Some("bpf"), MsFlags::empty(), none)?;
    let mac = OWN.map(|byte| format!("{byte:02x}")).join(":");
    let status = std::process::Command::new("ip")
        .args([
            "link", "add", "seg0", "address", &mac, "type", "veth", "peer", "name", "seg0p",
        ])
        .status()?;
    ensure!(status.success(), "ip link add failed");
    Ok(nix::net::if_::if_nametoindex("seg0")?)
}

/// The addresses of one family: VIPs with remote and with local backends, and one that is no VIP.
struct Addresses {
    client: IpAddr,
    remote: IpAddr,
    local: IpAddr,
    foreign: IpAddr,
    node: IpAddr,
    pods: [IpAddr; 3],
}

fn v4() -> Addresses {
    let pod = |last| Ipv4Addr::new(10, 244, 1, last).into();
    Addresses {
        client: Ipv4Addr::new(198, 51, 100, 7).into(),
        remote: Ipv4Addr::new(192, 0, 2, 10).into(),
        local: Ipv4Addr::new(192, 0, 2, 11).into(),
        foreign: Ipv4Addr::new(192, 0, 2, 99).into(),
        node: Ipv4Addr::new(192, 0, 2, 2).into(),
        pods: [pod(1), pod(2), pod(3)],
    }
}

fn v6() -> Addresses {
    let host = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
    let pod = |last| Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, last).into();
    Addresses {
        client: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7).into(),
        remote: host(0x10),
        local: host(0x11),
        foreign: host(0x99),
        node: host(2),
        pods: [pod(1), pod(2), pod(3)],
    }
}

fn desired(ifindex: u32) -> Desired {
    let segment = Interface {
        name: "seg0".into(),
        mac: OWN,
        members: BTreeSet::new(),
        is_trunk: false,
    };
    let mut desired = Desired {
        interfaces: [(ifindex, segment)].into(),
        ..Desired::default()
    };
    for addresses in [v4(), v6()] {
        for (vip, placement) in [
            (addresses.remote, Placement::Remote(addresses.node)),
            (addresses.local, Placement::Local),
        ] {
            let frontend = Frontend {
                address: vip,
                port: 80,
                protocol: Protocol::Tcp,
            };
            let backend = Backend {
                pod: PodId::default(),
                placement,
                weight: 1,
                state: BackendState::Active,
            };
            let backends = addresses.pods.map(|address| {
                (
                    Endpoint {
                        address,
                        port: 8080,
                    },
                    backend,
                )
            });
            desired.frontends.insert(
                frontend,
                Arc::new(Vip {
                    backends: backends.into(),
                    ..Vip::default()
                }),
            );
        }
        desired
            .hops
            .insert(addresses.node, Some(Hop { mac: HOP, ifindex }));
    }
    desired
}

/// A TCP segment without payload, padded to 64 bytes where it is shorter.
fn frame(addresses: &Addresses, to: IpAddr) -> Result<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(CLIENT, OWN);
    let ip = match (addresses.client, to) {
        (IpAddr::V4(client), IpAddr::V4(to)) => ethernet.ipv4(client.octets(), to.octets(), 64),
        (IpAddr::V6(client), IpAddr::V6(to)) => ethernet.ipv6(client.octets(), to.octets(), 64),
        _ => anyhow::bail!("two families in one packet"),
    };
    let mut frame = Vec::new();
    ip.tcp(40_000, 80, 7, 1024).ack(1).write(&mut frame, &[])?;
    frame.resize(if to.is_ipv4() { 64 } else { 80 }, 0);
    Ok(frame)
}

/// The names of TC's cases begin so; the rest is the name of the same case at XDP.
const AT_TC: &str = "tc_";

fn cases(settings: &Settings) -> Result<Vec<Case>> {
    const NEXT: u32 = u32::MAX;
    const REDIRECTED: u32 = 7;
    let (four, six) = (v4(), v6());
    let (near4, far4) = ((&four, four.local), (&four, four.remote));
    let (near6, far6) = ((&six, six.local), (&six, six.remote));
    let mut cases = Vec::new();
    for (name, program, (addresses, to), flows, action) in [
        ("empty", "landfall_empty", far4, 1, PASS),
        ("prologue_ipv4", "bench_renew", far4, MANY, PASS),
        ("prologue_ipv6", "bench_renew", far6, MANY, PASS),
        (
            "not_ours_ipv4",
            "bench_path",
            (&four, four.foreign),
            1,
            PASS,
        ),
        ("not_ours_ipv6", "bench_path", (&six, six.foreign), 1, PASS),
        ("director_ipv4_1_flow", "bench_path", far4, 1, TX),
        ("director_ipv4_64k_flows", "bench_path", far4, MANY, TX),
        ("director_ipv6_1_flow", "bench_path", far6, 1, TX),
        ("director_ipv6_64k_flows", "bench_path", far6, MANY, TX),
        ("deliver_ipv4_1_flow", "bench_path", near4, 1, PASS),
        ("deliver_ipv4_64k_flows", "bench_path", near4, MANY, PASS),
        ("deliver_ipv6_1_flow", "bench_path", near6, 1, PASS),
        ("deliver_ipv6_64k_flows", "bench_path", near6, MANY, PASS),
        ("tc_empty", "bench_tc_empty", far4, 1, NEXT),
        ("tc_prologue_ipv4", "bench_tc_renew", far4, MANY, NEXT),
        ("tc_prologue_ipv6", "bench_tc_renew", far6, MANY, NEXT),
        (
            "tc_director_ipv4_64k_flows",
            "bench_tc_path",
            far4,
            MANY,
            REDIRECTED,
        ),
        (
            "tc_director_ipv6_64k_flows",
            "bench_tc_path",
            far6,
            MANY,
            REDIRECTED,
        ),
        (
            "tc_deliver_ipv4_64k_flows",
            "bench_tc_path",
            near4,
            MANY,
            NEXT,
        ),
        (
            "tc_deliver_ipv6_64k_flows",
            "bench_tc_path",
            near6,
            MANY,
            NEXT,
        ),
    ] {
        let frame = frame(addresses, to)?;
        cases.push(Case {
            name,
            ebpf: load(settings, program, &frame, flows)?,
            program,
            frame,
            action,
            samples: Vec::new(),
        });
    }
    Ok(cases)
}

/// A program of its own for each case: the number of flows is a constant to the verifier.
fn load(settings: &Settings, program: &str, frame: &[u8], flows: u32) -> Result<Ebpf> {
    let mask = flows - 1;
    let port_offset: u32 = if frame[12..14] == [0x86, 0xdd] {
        54
    } else {
        34
    };
    let mut ebpf: Ebpf = if program == "landfall_empty" {
        landfall_bpf_lb::load_object(object::LANDFALL, settings)?
    } else {
        let mut loader = EbpfLoader::new();
        loader.override_global("FLOWS", &mask, true);
        loader.override_global("PORT_OFFSET", &port_offset, true);
        let seed = flow::seed(settings.seed);
        loader.override_global("SEED", &seed, false);
        loader.default_map_pin_directory(settings.pin_dir.join("maps"));
        loader.load(object::BENCH)?
    };
    match ebpf.program_mut(program).context("no such program")? {
        Program::Xdp(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        _ => anyhow::bail!("{program} is of another kind"),
    }
    Ok(ebpf)
}

impl Case {
    /// Has its packets bear these flags from now on.
    fn say(&mut self, flags: u8) -> Result<()> {
        let is_ipv6 = self.frame[12..14] == [0x86, 0xdd];
        self.frame[if is_ipv6 { 67 } else { 47 }] = flags;
        if let Some(map) = self.ebpf.map_mut("TEMPLATE") {
            let mut template = [0u64; 10];
            for (word, bytes) in template.iter_mut().zip(self.frame.chunks(8)) {
                *word = u64::from_ne_bytes(bytes.try_into()?);
            }
            Array::<_, [u64; 10]>::try_from(map)?.set(0, template, 0)?;
        }
        Ok(())
    }

    /// Mean nanoseconds of a packet over one million.
    fn run(&mut self, ifindex: u32) -> Result<f64> {
        let bytes = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        let length = u32::try_from(self.frame.len())?;
        let program = self.ebpf.program(self.program).context("no such program")?;
        // The interface in a `struct xdp_md` and in a `struct __sk_buff`.
        let context = match program {
            Program::Xdp(_) => bytes(&[0, length, 0, ifindex, 0, 0]),
            _ => bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ifindex]),
        };
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&context),
            repeat: REPEAT,
            ..TestRunOptions::new()
        };
        let result = match program {
            Program::Xdp(program) => program.test_run(options)?,
            Program::SchedClassifier(program) => program.test_run(options)?,
            _ => anyhow::bail!("{} is of another kind", self.program),
        };
        ensure!(
            result.return_value == self.action,
            "{} returned {}",
            self.name,
            result.return_value
        );
        // The kernel divides by the number of repetitions, to whole nanoseconds.
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    fn figure(&mut self) -> Figure {
        self.samples.sort_by(f64::total_cmp);
        let at = |percent: usize| self.samples[((self.samples.len() - 1) * percent).div_ceil(100)];
        Figure {
            name: self.name,
            minimum: at(0),
            median: at(50),
            p99: at(99),
            maximum: at(100),
        }
    }
}

struct Figure {
    name: &'static str,
    minimum: f64,
    median: f64,
    p99: f64,
    maximum: f64,
}

fn report(cases: &mut [Case]) -> Result<()> {
    let method = format!(
        "BPF_PROG_TEST_RUN, repeat {REPEAT}, {ROUNDS} rounds interleaved over all cases; raw, prologue included \
         (see prologue_*), TCP without payload; value = min; not_ours includes the prologue too"
    );
    let mut table = format!(
        "{:<28} {:>8} {:>8} {:>8} {:>8}\n",
        "ns per packet", "min", "median", "p99", "max"
    );
    let mut json = Vec::new();
    for case in &mut *cases {
        let figure = case.figure();
        writeln!(
            table,
            "{:<28} {:>8.0} {:>8.0} {:>8.0} {:>8.0}",
            figure.name, figure.minimum, figure.median, figure.p99, figure.maximum
        )?;
        json.push(serde_json::json!({
            "name": format!("xdp_{}", figure.name), "value": figure.minimum, "unit": "ns", "n": ROUNDS,
            "min": figure.minimum, "median": figure.median, "p99": figure.p99, "max": figure.maximum,
            "method": method,
        }));
    }
    for (name, ratio) in ratios(cases) {
        writeln!(
            table,
            "{name:<40} {ratio:>8.2} of XDP, both without prologue"
        )?;
        json.push(serde_json::json!({
            "name": format!("xdp_{name}_ratio"), "value": ratio, "unit": "", "n": ROUNDS, "method": method,
        }));
    }
    std::io::stdout().write_all(table.as_bytes())?;
    let directory = target_directory().join("figures");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(
        directory.join("bench-xdp.json"),
        serde_json::to_string_pretty(&json)? + "\n",
    )?;
    Ok(())
}

/// What the data path costs at TC, as a part of what it costs at XDP, without the prologues.
fn ratios(cases: &[Case]) -> Vec<(&'static str, f64)> {
    let minimum = |name: &str| {
        let case = cases.iter().find(|case| case.name == name);
        case.and_then(|case| case.samples.first().copied())
    };
    let cost = |at: &str, name: &str| {
        let family = if name.contains("ipv4") {
            "ipv4"
        } else {
            "ipv6"
        };
        Some(minimum(&format!("{at}{name}"))? - minimum(&format!("{at}prologue_{family}"))?)
    };
    let paths = cases.iter().filter(|case| case.program == "bench_tc_path");
    let ratio = |case: &Case| {
        let name = case.name.strip_prefix(AT_TC)?;
        Some((case.name, cost(AT_TC, name)? / cost("", name)?))
    };
    paths.filter_map(ratio).collect()
}

fn target_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join("target")
}
