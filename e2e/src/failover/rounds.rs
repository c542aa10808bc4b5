//! Rounds of disturbing and measuring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::arp::Asking;
use super::bed::Bed;
use super::case::{Case, Victim};
use super::connect::Connecting;
use super::figures::{Figure, print, write};
use super::silence::{Silence, both, silence};
use crate::lab::plan::Machine;

/// Every probe of so long is answered before and after.
const STEADY: Duration = Duration::from_secs(1);
/// And of so long when it is undone: a node that comes back may do harm later.
const UNDONE: Duration = Duration::from_secs(2);
/// Nobody waits longer for an address to come back.
const GIVE_UP: Duration = Duration::from_secs(90);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes that announce.
    pub nodes: u8,
    /// Addresses.
    pub addresses: u8,
    /// `Kernel` or `XDP`.
    pub mode: String,
    /// What befalls the owner.
    pub cases: Vec<Case>,
    /// How often each, but for those that take long.
    pub repeat: usize,
    /// How long nothing befalls anybody, where that is the case.
    pub quiet: Duration,
    /// Between two questions of the client, whatever about.
    pub pause: Duration,
    /// Where the figures go.
    pub file: PathBuf,
}

/// What one case showed.
#[derive(Debug, Default)]
struct Seen {
    arp: Vec<Duration>,
    arp_lost: Vec<usize>,
    both: Vec<Duration>,
    thawed: Vec<usize>,
    undone: Vec<Duration>,
    undone_both: Vec<Duration>,
    connect: Vec<Duration>,
    connect_lost: Vec<usize>,
    /// Addresses that changed their owner while nothing befell it.
    moved: Vec<usize>,
}

/// Measures, prints and writes.
///
/// # Errors
/// When the lab does not come up, or an address is not answered again.
pub async fn run(options: &Options) -> Result<()> {
    let mut bed = Box::pin(Bed::up(options.nodes, options.addresses, &options.mode)).await?;
    let mut seen: BTreeMap<&'static str, (Case, Seen)> = BTreeMap::new();
    for case in &options.cases {
        let times = case.times(options.repeat);
        for round in 1..=times {
            let all = &mut seen
                .entry(case.name())
                .or_insert((*case, Seen::default()))
                .1;
            let began = Instant::now();
            Box::pin(one(&mut bed, *case, options, all))
                .await
                .with_context(|| format!("{} number {round}", case.name()))?;
            let took = all.arp.iter().rev().take(1).map(Duration::as_millis);
            eprintln!(
                "failover: {} {round}/{times}: ARP silent for {:?} ms; the round took {:.1} s",
                case.name(),
                took.collect::<Vec<_>>(),
                began.elapsed().as_secs_f64()
            );
        }
    }
    let circumstances = circumstances();
    let figures: Vec<Figure> = seen
        .into_values()
        .flat_map(|(case, seen)| figures(case, &seen, options, &circumstances))
        .collect();
    print(&figures);
    write(&figures, &options.file)
}

async fn one(bed: &mut Bed, case: Case, options: &Options, seen: &mut Seen) -> Result<()> {
    bed.rest().await?;
    let client = bed.client()?.clone();
    let (owner, lost) = bed.victim().await?;
    let victim = match case.victim() {
        Victim::Owner => owner,
        Victim::Backend => bed.backend()?,
    };
    let first = *lost
        .first()
        .context("the node that owns most addresses owns none")?;
    let to = SocketAddr::new(IpAddr::V4(first), 80);
    let asking = Asking::start(&client, &bed.addresses, options.pause)?;
    let connecting = Connecting::start(&client, to, options.pause.max(Duration::from_millis(5)))?;
    let calm = Instant::now();
    eventually("every address is answered before it is lost", || {
        quiet(&asking, &connecting, &bed.addresses, calm)
    })
    .await?;

    case.prepare(&bed.lab).await?;
    // Of an API server that stands still nothing is asked.
    let owned = match case.is_quiet() {
        true => bed.transitions().await?,
        false => 0,
    };
    let disturbed = Instant::now();
    case.disturb(&bed.lab, bed.tree(), &victim, options.quiet)
        .await?;
    let silent = |address: &Ipv4Addr| silence(&asking.series(*address).samples, disturbed, STEADY);
    eventually("every address is answered again", || {
        lost.iter().all(|address| silent(address).is_some())
            && silence(&connecting.samples(), disturbed, STEADY).is_some()
    })
    .await?;
    for address in &lost {
        let series = asking.series(*address);
        if let Some(Silence { lasted, lost }) = silence(&series.samples, disturbed, STEADY) {
            seen.arp.push(lasted);
            seen.arp_lost.push(lost);
        }
        seen.both.push(both(&series.answers, disturbed));
    }
    if let Some(Silence { lasted, lost }) = silence(&connecting.samples(), disturbed, STEADY) {
        seen.connect.push(lasted);
        seen.connect_lost.push(lost);
    }

    if case.is_quiet() {
        let moved = bed.transitions().await?.saturating_sub(owned);
        seen.moved.push(moved);
    }
    let undone = Instant::now();
    let tree = bed.tree().to_owned();
    case.undo(&mut bed.lab, &tree, &victim)?;
    if case.undoing().is_some() {
        let silent = |address: &Ipv4Addr| silence(&asking.series(*address).samples, undone, UNDONE);
        eventually("every address is answered when it is undone", || {
            lost.iter().all(|address| silent(address).is_some())
        })
        .await?;
        for address in &lost {
            seen.undone
                .extend(silent(address).map(|silence| silence.lasted));
            seen.undone_both
                .push(both(&asking.series(*address).answers, undone));
        }
    }
    if case == Case::Freeze {
        seen.thawed
            .push(answers_of(&asking, &lost, &victim, undone));
    }
    drop((asking, connecting));
    if case.ends_the_process() {
        bed.kubectl(&format!(
            "delete pod -n landfall-system -l app.kubernetes.io/name=landfall-announcer --field-selector=spec.nodeName={} --wait=true",
            victim.name
        ))?;
    }
    Ok(())
}

/// Whether every address and the connections were answered all the time since.
fn quiet(asking: &Asking, connecting: &Connecting, addresses: &[Ipv4Addr], since: Instant) -> bool {
    let calm = |samples: &[super::silence::Sample]| {
        silence(samples, since, STEADY).is_some_and(|silence| since.elapsed() > silence.lasted)
    };
    addresses
        .iter()
        .all(|address| calm(&asking.series(*address).samples))
        && calm(&connecting.samples())
}

/// Answers that a machine gave since.
fn answers_of(asking: &Asking, addresses: &[Ipv4Addr], machine: &Machine, since: Instant) -> usize {
    let is_its = |mac: &super::silence::Mac| {
        let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        text.join(":").eq_ignore_ascii_case(&machine.mac)
    };
    addresses
        .iter()
        .flat_map(|address| asking.series(*address).answers)
        .filter(|(at, mac)| *at >= since && is_its(mac))
        .count()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + GIVE_UP;
    while !holds() {
        ensure!(
            Instant::now() < until,
            "still not so after {GIVE_UP:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What else a reader of the figures must know: how the programs were built, and how busy the machine is.
fn circumstances() -> String {
    let build = if cfg!(debug_assertions) {
        "unoptimized build"
    } else {
        "optimized build"
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // Of the last fifteen minutes: the lab's own part of it is small.
    let load = load.split_whitespace().nth(2).unwrap_or("unknown");
    format!("{build}, load of the machine {load}")
}

fn figures(case: Case, seen: &Seen, options: &Options, circumstances: &str) -> Vec<Figure> {
    let (name, mode) = (case.name(), &options.mode);
    let method = |asked: &str| {
        format!(
            "{}; {} nodes, {} addresses, {mode}; {asked}; {circumstances}",
            case.what(),
            options.nodes,
            options.addresses
        )
    };
    let each = u128::from(options.addresses) * options.pause.as_millis();
    let arp = method(&format!(
        "ARP for each address every {each} ms, over the addresses the node owned"
    ));
    let connect = method(
        "a TCP connection to one of its addresses, from the last opened before to the first after which all were",
    );
    let both = method("from the first answer of the new owner to the last of the old one");
    let thawed = method("ARP answers of the thawed node in the 2 s after SIGCONT");
    let undoing = case.undoing().unwrap_or("undone");
    let moved = method(&format!(
        "addresses that changed their owner within {} s",
        options.quiet.as_secs()
    ));
    let undone = method("ARP for each address, from the moment when it is undone");
    [
        Figure::milliseconds(format!("{name}/{mode}/arp-silence"), &seen.arp, &arp),
        Figure::counts(
            format!("{name}/{mode}/arp-lost"),
            "probes",
            &seen.arp_lost,
            &arp,
        ),
        Figure::counts(
            format!("{name}/{mode}/moves"),
            "addresses",
            &seen.moved,
            &moved,
        ),
        Figure::milliseconds(format!("{name}/{mode}/two-answering"), &seen.both, &both),
        Figure::counts(
            format!("{name}/{mode}/thawed-answers"),
            "probes",
            &seen.thawed,
            &thawed,
        ),
        Figure::milliseconds(
            format!("{undoing}/{mode}/arp-silence"),
            &seen.undone,
            &undone,
        ),
        Figure::milliseconds(
            format!("{undoing}/{mode}/two-answering"),
            &seen.undone_both,
            &undone,
        ),
        Figure::milliseconds(
            format!("{name}/{mode}/connect-silence"),
            &seen.connect,
            &connect,
        ),
        Figure::counts(
            format!("{name}/{mode}/connect-lost"),
            "probes",
            &seen.connect_lost,
            &connect,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
