//! Looking by a program in the announcers' containers, on every node or on one.
//!
//! ```text
//!  announcer's container: landfall-announcer WORDS… ── exec of the API server ──► lines ──► news
//!                                                    ◄── what is wanted, whenever it changes
//! ```
//! Whoever may run something in the announcers' Pods may look, and nobody else: no port of an announcer tells a frame.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{AttachParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
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
    /// What stands against seeing all of it.
    Note {
        note: String,
    },
}

/// What a program is to tell of, so that nothing else takes from what it may say in a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What is about no address, too.
    pub(super) without_address: bool,
}

/// Nothing: all of it.
pub(super) type Wish = watch::Receiver<Option<Wanted>>;

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
    /// Looks at every node with an announcer, or at the one that is named, by the program with these words for a node, and
    /// says which nodes are left out: those without an announcer, and those without words, for the reason that is there instead.
    ///
    /// # Errors
    /// When the Pods cannot be listed, or there is nothing to look at.
    pub(super) async fn begin(
        client: &Client,
        named: Option<&str>,
        what: &'static str,
        words: impl Fn(&str) -> Result<Vec<String>, String>,
        wish: Wish,
    ) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::channel(WAITING);
        let mut looks = JoinSet::new();
        let nodes = announcers(client, named).await?;
        let nodes: BTreeSet<String> = nodes.into_iter().map(|(node, _)| node).collect();
        if named.is_none() {
            say_who_has_none(client, &nodes).await;
        }
        for node in nodes {
            match words(&node) {
                Ok(words) => {
                    let one = Look {
                        client: client.clone(),
                        node,
                        words,
                        wish: wish.clone(),
                        news: sender.clone(),
                    };
                    looks.spawn(one.go_on());
                }
                Err(why) => complain!("{}: its {what} are not shown: {why}", plain(&node)),
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
                Some(News::Said(node, Said::Note { note })) => {
                    complain!("{}: {}", plain(&node), plain(&note));
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

/// Says which nodes have no announcer that could be asked.
async fn say_who_has_none(client: &Client, with: &BTreeSet<String>) {
    let nodes: Api<Node> = Api::all(client.clone());
    match nodes.list_metadata(&ListParams::default()).await {
        Ok(nodes) => {
            let names = nodes.iter().map(|node| node.name_any());
            for node in names.filter(|name| !with.contains(name)) {
                complain!("{}: no announcer runs there", plain(&node));
            }
        }
        Err(error) => complain!(
            "nodes without an announcer are not named: {}",
            plain(&error.to_string())
        ),
    }
}

/// The look at one node.
struct Look<T> {
    client: Client,
    node: String,
    words: Vec<String>,
    wish: Wish,
    news: Sender<News<T>>,
}

impl<T: DeserializeOwned> Look<T> {
    /// Looks, and tells when that ends. Once it has seen anything it looks again, as often as the announcer restarts.
    async fn go_on(self) {
        let mut has_seen = false;
        let mut is_said = false;
        while !self.news.is_closed() {
            let mut heard = 0_u64;
            let followed = match announcers(&self.client, Some(&self.node)).await {
                Ok(pods) => match pods.into_iter().next_back() {
                    Some((_, pod)) => self.follow(&pod, &mut heard).await,
                    None => return,
                },
                Err(error) => Err(error),
            };
            has_seen |= heard > 0;
            is_said &= heard == 0;
            if !is_said {
                let why = followed.unwrap_or_else(|error| format!("{error:#}"));
                // Nobody listens any more: then nobody asks why.
                let _ = self.news.send(News::Ended(self.node.clone(), why)).await;
                is_said = true;
            }
            if !has_seen {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Passes on what the announcer says; why it says no more.
    async fn follow(&self, pod: &str, heard: &mut u64) -> anyhow::Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let command = std::iter::once(PROGRAM).chain(self.words.iter().map(String::as_str));
        let how = AttachParams::default().container(CONTAINER).stdin(true);
        let mut process = pods.exec(pod, command, &how).await.with_context(|| {
            format!("running something in the Pod {pod}, which takes the right to `pods/exec` in {NAMESPACE}")
        })?;
        // It ends when this is closed, with us.
        let mut wishing = JoinSet::new();
        if let Some(stdin) = process.stdin() {
            wishing.spawn(wish(stdin, self.wish.clone()));
        }
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let mut lines = BufReader::new(stdout.context("no standard output")?).lines();
        let complaint = tokio::spawn(whole(stderr));
        while let Some(text) = lines.next_line().await? {
            let Ok(said) = serde_json::from_str(&text) else {
                return Ok("what it says cannot be read: it may be of another version".to_owned());
            };
            *heard += 1;
            let news = News::Said(self.node.clone(), said);
            if self.news.send(news).await.is_err() {
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
}

/// Says what is wanted, now and whenever that changes, and holds the input open.
async fn wish(mut stdin: impl AsyncWrite + Unpin, mut wish: Wish) {
    loop {
        let wanted = wish.borrow_and_update().clone();
        if let Some(line) = wanted.and_then(|wanted| serde_json::to_string(&wanted).ok()) {
            let said = stdin.write_all(format!("{line}\n").as_bytes()).await;
            if said.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
        if wish.changed().await.is_err() {
            // It changes no more.
            return std::future::pending().await;
        }
    }
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
