//! Rounds of disturbing and measuring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::addresses::sample;
use super::arp::Asking;
use super::bed::Bed;
use super::case::{Case, Victim};
use super::connect::Connecting;
use super::figures::{Figure, print, write};
use super::seen::{Met, Seen};
use super::silence::{Mac, Sample, both, silence};
use super::stream::Streaming;
use crate::lab::plan::Machine;

/// Every probe of so long is answered before.
const CALM: Duration = Duration::from_millis(300);
/// And of so long after: what comes back may go again.
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
    pub addresses: u16,
    /// One node owns all of them, and one other may.
    pub together: bool,
    /// Addresses asked about at a time.
    pub asked: usize,
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

/// Who asks, and about what.
struct Client {
    asking: Asking,
    connecting: Connecting,
    streaming: Streaming,
    addresses: Vec<Ipv4Addr>,
}

impl Client {
    fn start(client: &Machine, addresses: Vec<Ipv4Addr>, pause: Duration) -> Result<Self> {
        let first = *addresses
            .first()
            .context("the node that owns most addresses owns none")?;
        let to = SocketAddr::new(IpAddr::V4(first), 80);
        Ok(Self {
            asking: Asking::start(client, &addresses, pause)?,
            connecting: Connecting::start(client, to, pause.max(Duration::from_millis(5)))?,
            streaming: Streaming::start(client, &addresses)?,
            addresses,
        })
    }

    /// Whether all of it was answered all the time for a while.
    fn is_calm(&self) -> bool {
        let now = Instant::now();
        let Some(since) = now.checked_sub(CALM) else {
            return false;
        };
        let calm = |samples: &[Sample]| {
            let late = samples
                .iter()
                .rev()
                .take_while(|sample| sample.sent >= since);
            let reaches = samples.first().is_some_and(|sample| sample.sent < since);
            let newest = samples
                .last()
                .is_some_and(|sample| now < sample.sent + CALM);
            reaches && newest && late.into_iter().all(|sample| sample.answered)
        };
        let series = |address: &Ipv4Addr| calm(&self.asking.series(*address).samples);
        self.streaming.flow()
            && calm(&self.connecting.samples())
            && self.addresses.iter().all(series)
    }

    /// Whether every address is answered again since, and has been for so long.
    fn answers(&self, since: Instant, steady: Duration) -> bool {
        let answers = |address: &Ipv4Addr| {
            silence(&self.asking.series(*address).samples, since, steady).is_some()
        };
        self.addresses.iter().all(answers)
    }

    /// What the questions about each address have met since.
    fn met(&self, since: Instant, steady: Duration, met: &mut Met) {
        for address in &self.addresses {
            let series = self.asking.series(*address);
            if let Some(silence) = silence(&series.samples, since, steady) {
                met.add(&silence);
            }
            met.both.push(both(&series.answers, since));
        }
    }

    /// Answers that a machine gave since.
    fn answers_of(&self, machine: &Machine, since: Instant) -> usize {
        let is_its = |mac: &Mac| {
            let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            text.join(":").eq_ignore_ascii_case(&machine.mac)
        };
        let answers = self.addresses.iter();
        answers
            .flat_map(|address| self.asking.series(*address).answers)
            .filter(|(at, mac)| *at >= since && is_its(mac))
            .count()
    }
}

/// Measures, prints and writes.
///
/// # Errors
/// When the lab does not come up, or an address is not answered again.
pub async fn run(options: &Options) -> Result<()> {
    let mut bed = Box::pin(Bed::up(options)).await?;
    let mut seen: BTreeMap<&'static str, (Case, Seen)> = BTreeMap::new();
    let mut rounds = 0;
    for case in &options.cases {
        let times = case.times(options.repeat);
        for round in 1..=times {
            let all = &mut seen
                .entry(case.name())
                .or_insert((*case, Seen::default()))
                .1;
            let took = Box::pin(one(&mut bed, *case, options, rounds, all))
                .await
                .with_context(|| format!("{} number {round}", case.name()))?;
            rounds += 1;
            let longest = all.arp.silent.iter().rev().take(took.asked).max();
            eprintln!(
                "failover: {} {round}/{times}: ARP silent for {} ms at the most; {took}",
                case.name(),
                longest.map_or(0, Duration::as_millis),
            );
        }
    }
    let figures: Vec<Figure> = seen
        .into_values()
        .flat_map(|(case, seen)| seen.figures(case, options))
        .collect();
    print(&figures);
    write(&figures, &options.file)
}

/// What a round spent its time on.
#[derive(Debug)]
struct Took {
    asked: usize,
    parts: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Took {
    fn new() -> Self {
        Self {
            asked: 0,
            parts: Vec::new(),
            since: Instant::now(),
        }
    }

    /// What was done since the last one.
    fn on(&mut self, what: &'static str) {
        let now = Instant::now();
        self.parts.push((what, now - self.since));
        self.since = now;
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole: Duration = self.parts.iter().map(|(_, took)| *took).sum();
        write!(out, "the round took {:.1} s", whole.as_secs_f64())?;
        for (what, took) in &self.parts {
            write!(out, ", {what} {:.1}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

async fn one(
    bed: &mut Bed,
    case: Case,
    options: &Options,
    round: usize,
    seen: &mut Seen,
) -> Result<Took> {
    let mut took = Took::new();
    bed.rest().await?;
    took.on("rest");
    let (owner, owned) = bed.victim().await?;
    let victim = match case.victim() {
        Victim::Owner => owner,
        Victim::Backend => bed.backend()?,
    };
    let asked = sample(&owned, options.asked, round);
    took.asked = asked.len();
    let client = Client::start(bed.client()?, asked, options.pause)?;
    eventually("every address is answered before it is lost", || {
        client.is_calm()
    })
    .await?;
    took.on("calm");

    case.prepare(&bed.lab).await?;
    // Of an API server that stands still nothing is asked.
    let moved = match case.is_quiet() {
        true => bed.transitions().await?,
        false => 0,
    };
    let disturbed = Instant::now();
    case.disturb(&bed.lab, bed.tree(), &victim, options.quiet)
        .await?;
    took.on("disturbance");
    let again = || silence(&client.connecting.samples(), disturbed, STEADY);
    eventually("every address is answered again", || {
        client.answers(disturbed, STEADY) && again().is_some()
    })
    .await?;
    client.met(disturbed, STEADY, &mut seen.arp);
    if let Some(silence) = again() {
        seen.connect.add(&silence);
    }
    seen.streams.add(streams(&client, disturbed).await?);
    took.on("answers");

    if case.is_quiet() {
        let now = bed.transitions().await?;
        seen.moved.push(now.saturating_sub(moved));
    }
    let undone = Instant::now();
    let tree = bed.tree().to_owned();
    case.undo(&mut bed.lab, &tree, &victim)?;
    if case.undoing().is_some() {
        eventually("every address is answered when it is undone", || {
            client.answers(undone, UNDONE)
        })
        .await?;
        client.met(undone, UNDONE, &mut seen.undone);
        seen.undone_streams.add(streams(&client, undone).await?);
    }
    if case == Case::Freeze {
        seen.thawed.push(client.answers_of(&victim, undone));
    }
    drop(client);
    took.on("undoing");
    if case.ends_the_process() {
        bed.kubectl(&format!(
            "delete pod -n landfall-system -l app.kubernetes.io/name=landfall-announcer --field-selector=spec.nodeName={} --wait=true",
            victim.name
        ))?;
        took.on("a new Pod");
    }
    Ok(took)
}

/// What befell the streams since, as soon as that is certain.
async fn streams(client: &Client, since: Instant) -> Result<super::stream::Fates> {
    let mut fates = None;
    eventually("every stream goes on or has ended", || {
        fates = client.streaming.fates(since);
        fates.is_some()
    })
    .await?;
    Ok(fates.unwrap_or_default())
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + GIVE_UP;
    while !holds() {
        ensure!(
            Instant::now() < until,
            "still not so after {GIVE_UP:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
