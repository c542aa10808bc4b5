//! What nodes tell each other of connections whose slots went elsewhere, over UDP between their own addresses.
//!
//! ```text
//!  director ── owed ──► Dialogue ──► letters ──► other nodes
//!           ◄─ kept ───          ◄── letters ◄──
//! ```
//! `docs/reference/connections.md` has the bytes.
//!
//! It is: sockets, the cluster's keys around each message, a bound on what strangers can make it read. What is told when,
//! and what is believed, is `landfall_bpf_lb::duties`'s to say. Without keys nothing is told and nothing believed.
//!
//! Invariant: what another node is told to have been taken in, the programs know already.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_bpf_lb::desired::Frontend;
use landfall_bpf_lb::duties::message::Message;
use landfall_bpf_lb::duties::{Flow, Kept, Owed};
use landfall_wire::peers::letter;
use landfall_wire::peers::{ClusterId, KeyRing, Refusal};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::DataPath;
use crate::clock;

/// The UDP port, on addresses of nodes that lie on a segment of the director.
pub const PORT: u16 = 7782;
/// Between two looks at what is to be said again.
const TURN: Duration = Duration::from_millis(200);
/// A message and its cover are never longer: what every link takes that carries IPv6, less IPv6's and UDP's headers.
const LONGEST: usize = 1_280 - 40 - 8;
/// Letters read in a turn at most, from each address of this node: all that a node may have to say at once.
const MOST_LETTERS: usize = 4_096;

/// The keys, and the cluster they are of.
pub type Keys = (ClusterId, KeyRing);
/// Connections, each with the address of a node.
pub type Entries = BTreeMap<Flow, IpAddr>;

/// Frontends that are served for their open connections alone, and the other nodes that have pods of them.
pub type Going = BTreeMap<Frontend, BTreeSet<IpAddr>>;

/// Entries for the programs, numbered as they come.
#[derive(Clone, Debug, Default)]
pub struct Numbered {
    /// Rises by one.
    pub number: u64,
    /// Connections that other nodes have.
    pub entries: Arc<Entries>,
}

/// What comes in and goes out, besides letters.
pub struct Ends {
    /// The cluster's keys, as they come and go.
    pub keys: watch::Receiver<Option<Arc<Keys>>>,
    /// What the director does, and for whom.
    pub paths: watch::Receiver<Option<Arc<DataPath>>>,
    /// What this node owes others.
    pub owed: watch::Receiver<Arc<Entries>>,
    /// What others have told, for the director.
    pub kept: watch::Sender<Numbered>,
    /// The number of the last that the programs know.
    pub known: watch::Receiver<u64>,
    /// What the director serves besides its path.
    pub going: watch::Receiver<Arc<Going>>,
    /// What the programs have from an earlier process.
    pub restored: watch::Receiver<Arc<Entries>>,
    /// For the metrics.
    pub disbelieved: Disbelieved,
}

/// Both halves of the conversation, and who may say what in it.
#[derive(Debug)]
struct Dialogue {
    owed: Owed,
    kept: Kept,
    path: Arc<DataPath>,
    going: Arc<Going>,
}

impl Dialogue {
    fn new(boot: u64) -> Self {
        Self {
            owed: Owed::new(boot),
            kept: Kept::default(),
            path: Arc::default(),
            going: Arc::default(),
        }
    }

    /// Takes what the node that has this address says, and returns what to answer, if anything.
    fn receive(
        &mut self,
        from: IpAddr,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Option<Message>, Disbelief> {
        let message = Message::decode(bytes).map_err(|_| Refusal::Malformed)?;
        let node = *self.path.nodes.get(&from).ok_or(Disbelief::Stranger)?;
        if self.kept.is_outdated(node, &message) {
            return Err(Refusal::Replayed.into());
        }
        self.owed.answered(node, &message);
        let frontends = &self.path.desired.frontends;
        let has_a_pod = |flow: &Flow| {
            let going = self.going.get(&flow.frontend);
            going.is_some_and(|nodes| nodes.contains(&node))
                || frontends.get(&flow.frontend).is_some_and(|vip| {
                    let mut backends = vip.backends.values();
                    backends.any(|backend| backend.placement.node() == Some(node))
                })
        };
        Ok(self.kept.receive(node, &message, now, has_a_pod))
    }
}

/// Why a letter is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disbelief {
    /// It is not authentic, or says nothing.
    Refused(Refusal),
    /// It is, from an address that is no node's on a segment of the director.
    Stranger,
}

impl From<Refusal> for Disbelief {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Disbelief {
    const fn label(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::Stranger => "stranger",
        }
    }
}

/// How many letters were not believed, by reason; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disbelieved(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Disbelieved {
    /// By the value of the label `reason`.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }

    fn count(&self, reason: Disbelief) {
        *self.0.lock().entry(reason.label()).or_default() += 1;
    }
}

/// A letter as it came.
struct Letter {
    from: IpAddr,
    to: IpAddr,
    bytes: Vec<u8>,
}

/// Speaks and listens until the token is cancelled.
pub async fn run(mut ends: Ends, token: CancellationToken) {
    let (letters, mut inbox) = mpsc::channel(MOST_LETTERS);
    let mut dialogue = Dialogue::new(boot());
    let mut sockets = Sockets::new(letters, ends.disbelieved.clone());
    let mut answers = Answers::<Answer>::default();
    let mut turn = tokio::time::interval(TURN);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut first = None;
        // Not for every answer: what is owed is looked through as a whole.
        let mut speaks = false;
        tokio::select! {
            () = token.cancelled() => return,
            _ = turn.tick() => {
                dialogue.kept.expire(clock::now());
                speaks = true;
            }
            letter = inbox.recv() => first = letter,
            changed = ends.paths.changed() => if changed.is_err() { return },
            changed = ends.known.changed() => if changed.is_err() { return },
            changed = ends.restored.changed() => match changed {
                Ok(()) => dialogue.kept.restore(&ends.restored.borrow_and_update(), clock::now()),
                Err(_) => return,
            },
            changed = ends.owed.changed() => match changed {
                Ok(()) => {
                    dialogue.owed.set(&ends.owed.borrow_and_update());
                    speaks = true;
                }
                Err(_) => return,
            },
        }
        dialogue.path = ends.paths.borrow_and_update().clone().unwrap_or_default();
        dialogue.going = ends.going.borrow_and_update().clone();
        sockets.bind(&dialogue.path).await;
        let keys = ends.keys.borrow().clone();
        let Some(keys) = keys.as_deref() else {
            tell(&ends.kept, dialogue.kept.news());
            continue;
        };
        let mut said = Vec::new();
        while let Some(letter) = first {
            match read(&mut dialogue, keys, &letter) {
                Ok(answer) => said.extend(answer),
                Err(reason) => {
                    tracing::debug!(from = %letter.from, reason = reason.label(), "a letter that is not believed");
                    ends.disbelieved.count(reason);
                }
            }
            first = inbox.try_recv().ok();
        }
        let number = tell(&ends.kept, dialogue.kept.news());
        answers.wait(number, said);
        let known = *ends.known.borrow_and_update();
        for (from, to, message) in answers.ready(known) {
            sockets.send(keys, Some(from), to, &message);
        }
        if speaks {
            for (to, message) in dialogue.owed.due(clock::now()) {
                sockets.send(keys, None, to, &message);
            }
        }
    }
}

/// A number higher than that of every earlier process, as long as the machine's clock is not put back; then others wait
/// until they have forgotten this node.
fn boot() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What to answer, from which address to which.
type Answer = (IpAddr, IpAddr, Message);

fn read(
    dialogue: &mut Dialogue,
    (cluster, ring): &Keys,
    letter: &Letter,
) -> Result<Option<Answer>, Disbelief> {
    let way = (letter.from, letter.to);
    let message = letter::open(*cluster, ring, way, &letter.bytes)?;
    let answer = dialogue.receive(letter.from, message, clock::now())?;
    Ok(answer.map(|answer| (letter.to, letter.from, answer)))
}

/// Gives the director what is kept now, if that is new, and returns the number of it.
fn tell(kept: &watch::Sender<Numbered>, news: Option<Entries>) -> u64 {
    kept.send_if_modified(|told| {
        let news = news.filter(|entries| *told.entries != *entries);
        let is_news = news.is_some();
        if let Some(entries) = news {
            told.number += 1;
            told.entries = Arc::new(entries);
        }
        is_news
    });
    kept.borrow().number
}

/// Answers that wait until the programs know what they confirm, by rising numbers. As long as the programs have no room
/// for it their letters come again and again, so only so many are kept: an answer that is forgotten is asked for anew.
struct Answers<A>(VecDeque<(u64, A)>);

impl<A> Default for Answers<A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A> Answers<A> {
    fn wait(&mut self, number: u64, answers: Vec<A>) {
        self.0
            .extend(answers.into_iter().map(|answer| (number, answer)));
        let forgotten = self.0.len().saturating_sub(MOST_LETTERS);
        self.0.drain(..forgotten);
    }

    fn ready(&mut self, known: u64) -> Vec<A> {
        let waiting = self.0.partition_point(|(number, _)| *number <= known);
        self.0.drain(..waiting).map(|(_, answer)| answer).collect()
    }
}

/// A socket for each address of this node that others may know it by.
struct Sockets {
    letters: mpsc::Sender<Letter>,
    disbelieved: Disbelieved,
    bound: HashMap<IpAddr, (Arc<UdpSocket>, AbortOnDropHandle<()>)>,
}

impl Sockets {
    fn new(letters: mpsc::Sender<Letter>, disbelieved: Disbelieved) -> Self {
        Self {
            letters,
            disbelieved,
            bound: HashMap::new(),
        }
    }

    /// Has sockets on just the addresses of this path. An address that cannot be bound yet, such as one of IPv6 that is
    /// still being probed for, is tried again at the next turn.
    async fn bind(&mut self, path: &DataPath) {
        self.bound.retain(|address, _| path.own.contains(address));
        for address in &path.own {
            if !self.bound.contains_key(address)
                && let Ok(socket) = UdpSocket::bind((*address, PORT)).await
            {
                let socket = Arc::new(socket);
                let reader = listen(
                    socket.clone(),
                    *address,
                    self.letters.clone(),
                    self.disbelieved.clone(),
                );
                let reader = AbortOnDropHandle::new(tokio::spawn(reader));
                self.bound.insert(*address, (socket, reader));
            }
        }
    }

    /// Sends a message; one that is lost is said again.
    fn send(&self, (cluster, ring): &Keys, from: Option<IpAddr>, to: IpAddr, message: &Message) {
        let own = from.or_else(|| {
            let mut own = self
                .bound
                .keys()
                .filter(|own| own.is_ipv4() == to.is_ipv4());
            own.next().copied()
        });
        if let Some(own) = own
            && let Some((socket, _)) = self.bound.get(&own)
        {
            let letter = letter::seal(*cluster, ring, (own, to), &message.encode());
            let _ = socket.try_send_to(&letter, SocketAddr::new(to, PORT));
        }
    }
}

/// Reads what comes to this address. Whoever sends more than a node has to say waits in the kernel's queue, and loses
/// there what does not fit.
async fn listen(
    socket: Arc<UdpSocket>,
    to: IpAddr,
    letters: mpsc::Sender<Letter>,
    disbelieved: Disbelieved,
) {
    let mut buffer = [0; LONGEST];
    let mut left = MOST_LETTERS;
    let mut turn = tokio::time::interval(TURN);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turn.tick() => left = MOST_LETTERS,
            received = socket.recv_from(&mut buffer), if left > 0 => {
                left -= 1;
                let Ok((length, from)) = received else {
                    continue;
                };
                let letter = Letter { from: from.ip(), to, bytes: buffer[..length].to_vec() };
                match letters.try_send(letter) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => disbelieved.count(Refusal::Flood.into()),
                    Err(TrySendError::Closed(_)) => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
