//! Looking by a program in the announcers' containers, on every node or on one.
//!
//! ```text
//!  announcer's container: landfall-announcer WORDS… ── exec of the API server ──► lines ──► news
//! ```
//! Whoever may run something in the announcers' Pods may look, and nobody else: no port of an announcer tells a frame.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;

use super::WAITING;
use crate::out::complain;
use crate::picture::NAMESPACE;
use crate::words::plain;

const ANNOUNCERS: &str = "app.kubernetes.io/name=landfall-announcer";
const CONTAINER: &str = "announcer";
/// Before a node is asked again whose announcer has ended.
const AGAIN: Duration = Duration::from_secs(2);
const PROGRAM: &str = "/usr/local/bin/landfall-announcer";

/// What a program says, line by line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Said<T> {
    Seen(T),
    /// What is not told, so far.
    Missed {
        missed: u64,
    },
}

/// What is heard of a node.
enum News<T> {
    Said(String, Said<T>),
    /// Nothing more, and why.
    Ended(String, String),
}

/// The looks at all nodes that are looked at; dropped, they end.
pub(super) struct Looks<T> {
    /// What is looked at, for who is told that some is left out.
    what: &'static str,
    news: Receiver<News<T>>,
    missed: BTreeMap<String, u64>,
    _looks: JoinSet<()>,
}

impl<T: DeserializeOwned + Send + 'static> Looks<T> {
    /// Looks at every node with an announcer, or at the one that is named, by the program with these words for a node;
    /// none: it is not looked at.
    ///
    /// # Errors
    /// When the Pods cannot be listed, or there is nothing to look at.
    pub(super) async fn begin(
        client: &Client,
        named: Option<&str>,
        what: &'static str,
        words: impl Fn(&str) -> Option<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::channel(WAITING);
        let mut looks = JoinSet::new();
        for (node, _) in announcers(client, named).await? {
            if let Some(words) = words(&node) {
                looks.spawn(look(client.clone(), node, words, sender.clone()));
            }
        }
        Ok(Self {
            what,
            news,
            missed: BTreeMap::new(),
            _looks: looks,
        })
    }

    /// What was seen next, and on which node; what stands against it is said meanwhile.
    ///
    /// # Errors
    /// When no node is looked at any more.
    pub(super) async fn next(&mut self) -> anyhow::Result<(String, T)> {
        let what = self.what;
        loop {
            match self.news.recv().await {
                None => anyhow::bail!("no node shows its {what}"),
                Some(News::Ended(node, why)) => complain!("{}: {}", plain(&node), plain(&why)),
                Some(News::Said(node, Said::Missed { missed: now })) => {
                    let before = self.missed.insert(node.clone(), now).unwrap_or(0);
                    if now > before {
                        let more = now - before;
                        complain!(
                            "{}: {more} {what} are not shown: too many at once",
                            plain(&node)
                        );
                    }
                }
                Some(News::Said(node, Said::Seen(seen))) => return Ok((node, seen)),
            }
        }
    }
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

/// Looks at one node, and tells when that ends. Once it has seen anything it looks again, as often as the announcer restarts.
async fn look<T: DeserializeOwned>(
    client: Client,
    node: String,
    words: Vec<String>,
    news: Sender<News<T>>,
) {
    let mut has_seen = false;
    let mut is_said = false;
    while !news.is_closed() {
        let mut heard = 0_u64;
        let followed = match announcers(&client, Some(&node)).await {
            Ok(pods) => match pods.into_iter().next_back() {
                Some((_, pod)) => follow(&client, &node, &pod, &words, &news, &mut heard).await,
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
async fn follow<T: DeserializeOwned>(
    client: &Client,
    node: &str,
    pod: &str,
    words: &[String],
    news: &Sender<News<T>>,
    heard: &mut u64,
) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let command = std::iter::once(PROGRAM).chain(words.iter().map(String::as_str));
    let how = AttachParams::default().container(CONTAINER).stdin(true);
    let mut process = pods.exec(pod, command, &how).await.with_context(|| {
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
