//! What happens, line by line, from now on.
//!
//! ```text
//!  watch ── one task a kind ──► world (what was known) ──► lines ──► filter ──► out
//!                                ├── address   ownership, from the record before and now
//!                                ├── holder    Services and Gateways, as they say themselves
//!                                └── node      L2Nodes, and the Leases of sessions
//! ```
//!
//! Everything between the watches and the terminal is pure. Packets are told instead of all this, by [`packets`], or frames of
//! the segment, by [`segment`]: ARP, Neighbour Discovery and heartbeats, which the API server never sees. What it has of them,
//! whom a node hears and which address has a foreign host, is told here.
//!
//! Invariant: what cannot be watched is said once and stops nothing else; what a first list brings is the state, and no
//! change.

mod address;
mod holder;
mod line;
mod looks;
mod node;
mod packets;
mod segment;
#[cfg(test)]
mod tests;
mod watch;
mod world;

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::args::{self, Connection, LineOutput};
use crate::cluster::{Cluster, connect, namespace};
use crate::out::{End, Voice, written};
use crate::stops::Stops;
use line::{Filter, Line, heading};
use watch::{ROUND, TELLING, begin};
use world::{Kind, News, World};

/// How many news may wait for the terminal before the watches wait for it too.
const WAITING: usize = 1024;

/// Tells what happens until it is interrupted, the time is over or nobody reads.
///
/// # Errors
/// When the API server cannot be asked, or nothing at all may be watched.
pub(crate) async fn monitor(connection: &Connection, flags: &args::Monitor) -> anyhow::Result<End> {
    let mut stops = Stops::new()?;
    let end = flags.r#for.map(|time| Instant::now() + time);
    tokio::select! {
        ended = Box::pin(tell(connection, flags)), if !flags.packets && !flags.frames => ended,
        ended = Box::pin(packets::tell(connection, flags)), if flags.packets => ended,
        ended = Box::pin(segment::tell(connection, flags)), if flags.frames => ended,
        () = stops.next() => Ok(End::Well),
        () = until(end) => Ok(End::Well),
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn tell(connection: &Connection, flags: &args::Monitor) -> anyhow::Result<End> {
    let named = namespace(connection).filter(|_| !flags.all_namespaces);
    let patience = connection.request_timeout;
    let cluster = connect_to_watch(connection).await?;
    timeout(patience, cluster.client.apiserver_version())
        .await
        .with_context(|| format!("the API server did not answer within {patience:?}"))??;
    let (sender, mut news) = mpsc::channel(WAITING);
    // Held until this ends: they end with it.
    let _watches = begin(&cluster, named.as_deref(), &sender);
    drop(sender);
    let teller = Teller {
        output: flags.output,
        filter: Filter {
            namespace: named,
            node: flags.node.clone(),
            address: flags.address,
        },
        voice: Voice::start()?,
    };
    let mut world = World::default();
    let before = first_lists(&mut world, &mut news, patience).await;
    if world.sees_none_of(&TELLING) {
        let words = before.into_iter().map(|line| line.words);
        anyhow::bail!(
            "there is nothing to watch: {}",
            words.collect::<Vec<_>>().join("; ")
        );
    }
    let mut heard = teller.begin().await && teller.lines(before).await;
    let mut stated: Option<bool> = None;
    loop {
        // Records that could not be listed at first are told of when they can.
        let by_records = world.has_listed(Kind::Address);
        if !flags.changes_only && stated.is_none_or(|before| by_records && !before) {
            heard &= teller.lines(world.state(Timestamp::now())).await;
            if stated.is_none() {
                heard &= teller.lines(world.nodes(Timestamp::now())).await;
            }
            stated = Some(by_records);
        }
        if !heard {
            return Ok(End::Well);
        }
        let Some(one) = news.recv().await else {
            anyhow::bail!("the watches have ended");
        };
        heard = teller.lines(world.take(one, Timestamp::now())).await;
    }
}

/// A watch is silent longer than any answer may be.
async fn connect_to_watch(connection: &Connection) -> anyhow::Result<Cluster> {
    let longer = Connection {
        request_timeout: connection.request_timeout + ROUND,
        ..connection.clone()
    };
    connect(&longer).await
}

/// Takes in what there is, until every kind is listed or is known not to be to be had; what there is to say of that.
async fn first_lists(
    world: &mut World,
    news: &mut Receiver<News>,
    patience: Duration,
) -> Vec<Line> {
    let deadline = Instant::now() + patience;
    let mut lines = Vec::new();
    while !(world.has_heard_of(&TELLING) && world.has_heard_of(&[Kind::Class])) {
        let Ok(Some(one)) = timeout_at(deadline, news.recv()).await else {
            break;
        };
        lines.extend(world.take(one, Timestamp::now()));
    }
    lines
}

/// How lines are written, and which.
struct Teller {
    output: LineOutput,
    filter: Filter,
    voice: Voice,
}

impl Teller {
    /// False when nobody reads.
    async fn begin(&self) -> bool {
        match self.output {
            LineOutput::Table => self.voice.say(heading()).await,
            LineOutput::Json | LineOutput::Yaml => true,
        }
    }

    /// False when nobody reads.
    async fn lines(&self, lines: Vec<Line>) -> bool {
        for line in lines.iter().filter(|line| self.filter.takes(line)) {
            // Strings alone: they can be written.
            let Ok(text) = written(line, self.output, Line::draw) else {
                continue;
            };
            if !self.voice.say(text).await {
                return false;
            }
        }
        true
    }
}
