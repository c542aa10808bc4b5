//! Packets, as each node's XDP director is done with them.
//!
//! ```text
//!  announcer's container: landfall-announcer samples ── exec of the API server ──► lines ──► filter ──► out
//! ```
//! Whoever may run something in the announcers' Pods sees them, and nobody else: no port of an announcer tells a packet.

mod line;
mod packet;

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::L2Node;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinSet;

use super::{WAITING, connect_to_watch};
use crate::args::{self, Connection, LineOutput};
use crate::cluster::Cluster;
use crate::out::{End, Voice, complain};
use crate::picture::NAMESPACE;
use crate::words::plain;
use line::{Line, Places, Said, heading};

const ANNOUNCERS: &str = "app.kubernetes.io/name=landfall-announcer";
const CONTAINER: &str = "announcer";
/// Before a node is asked again whose announcer has ended.
const AGAIN: Duration = Duration::from_secs(2);
const COMMAND: [&str; 2] = ["/usr/local/bin/landfall-announcer", "samples"];

/// What is heard of a node.
enum News {
    Said(String, Said),
    /// Nothing more, and why.
    Ended(String, String),
}

/// Tells packets until nobody reads.
///
/// # Errors
/// When the API server cannot be asked, or no node shows its packets.
pub(super) async fn tell(connection: &Connection, flags: &args::Monitor) -> anyhow::Result<End> {
    let cluster = connect_to_watch(connection).await?;
    let announcers = announcers(&cluster.client, flags.node.as_deref()).await?;
    let places = places(&cluster).await;
    let (sender, mut news) = mpsc::channel(WAITING);
    // Held until this ends: they end with it.
    let mut looks = JoinSet::new();
    for (node, _) in announcers {
        looks.spawn(look(cluster.client.clone(), node, sender.clone()));
    }
    drop(sender);
    let voice = Voice::start()?;
    let is_table = flags.output == LineOutput::Table;
    let mut is_heard = !is_table || voice.say(heading()).await;
    let mut missed = std::collections::BTreeMap::new();
    while is_heard {
        match news.recv().await {
            None => anyhow::bail!("no node shows its packets"),
            Some(News::Ended(node, why)) => complain!("{}: {}", plain(&node), plain(&why)),
            Some(News::Said(node, Said::Missed { missed: now })) => {
                let before = missed.insert(node.clone(), now).unwrap_or(0);
                if now > before {
                    let more = now - before;
                    complain!(
                        "{}: {more} packets are not shown: too many at once",
                        plain(&node)
                    );
                }
            }
            Some(News::Said(node, Said::Packet(sample))) => {
                let line = Line::new(&node, sample, &places);
                if line.is_about(flags.address) {
                    let text = match flags.output {
                        LineOutput::Table => line.draw(),
                        LineOutput::Json => format!("{}\n", serde_json::to_string(&line)?),
                    };
                    is_heard = voice.say(text).await;
                }
            }
        }
    }
    Ok(End::Well)
}

/// The nodes with an announcer, or the one that is named, and the names of their Pods.
async fn announcers(client: &Client, named: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let all = pods.list(&ListParams::default().labels(ANNOUNCERS)).await;
    let all = all.context("listing the announcers' Pods")?;
    let placed = all.into_iter().filter_map(|pod| {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        Some((node, pod.name_any()))
    });
    let found: Vec<_> = placed
        .filter(|(node, _)| named.is_none_or(|named| named == node))
        .collect();
    let place = named.map_or_else(String::new, |node| format!(" on node {node}"));
    anyhow::ensure!(!found.is_empty(), "no announcer runs{place}");
    Ok(found)
}

/// Whose Ethernet address is whose; without, packets are told all the same.
async fn places(cluster: &Cluster) -> Places {
    let nodes: Api<L2Node> = Api::all(cluster.client.clone());
    match nodes.list(&ListParams::default()).await {
        Ok(nodes) => Places::of(&nodes.items),
        Err(error) => {
            complain!("nodes are not named: {}", plain(&error.to_string()));
            Places::default()
        }
    }
}

/// Looks at the packets of one node, and tells when that ends. Once it has seen any it looks again, as often as the announcer
/// restarts.
async fn look(client: Client, node: String, news: Sender<News>) {
    let mut has_seen = false;
    let mut is_said = false;
    while !news.is_closed() {
        let mut heard = 0_u64;
        let followed = match announcers(&client, Some(&node)).await {
            Ok(pods) => match pods.into_iter().next_back() {
                Some((_, pod)) => follow(&client, &node, &pod, &news, &mut heard).await,
                None => return,
            },
            Err(error) => Err(error),
        };
        has_seen |= heard > 0;
        is_said &= heard == 0;
        if !is_said {
            let why = followed.unwrap_or_else(|error| format!("{error:#}"));
            // Nobody listens any more: then nobody asks why.
            let _ = news.send(News::Ended(node.clone(), why)).await;
            is_said = true;
        }
        if !has_seen {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Passes on what the announcer says; why it says no more.
async fn follow(
    client: &Client,
    node: &str,
    pod: &str,
    news: &Sender<News>,
    heard: &mut u64,
) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let how = AttachParams::default().container(CONTAINER).stdin(true);
    let mut process = pods.exec(pod, COMMAND, &how).await.with_context(|| {
        format!("running something in the Pod {pod}, which takes the right to `pods/exec` in {NAMESPACE}")
    })?;
    // It ends when this is closed, with us.
    let _stdin = process.stdin();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let mut lines = BufReader::new(stdout.context("no standard output")?).lines();
    let complaint = tokio::spawn(whole(stderr));
    while let Some(text) = lines.next_line().await? {
        let Ok(said) = serde_json::from_str(&text) else {
            return Ok("what it says cannot be read: it may be of another version".to_owned());
        };
        *heard += 1;
        if news.send(News::Said(node.to_owned(), said)).await.is_err() {
            return Ok(String::new());
        }
    }
    let complaint = complaint.await.unwrap_or_default();
    let complaint = complaint.trim();
    Ok(
        match complaint.strip_prefix("Error: ").unwrap_or(complaint) {
            "" => "it has ended".to_owned(),
            why => why.to_owned(),
        },
    )
}

async fn whole(from: Option<impl AsyncRead + Unpin>) -> String {
    /// More than any complaint.
    const MOST: u64 = 4096;
    let mut text = String::new();
    if let Some(from) = from {
        // As far as it can be read.
        let _ = from.take(MOST).read_to_string(&mut text).await;
    }
    text
}
