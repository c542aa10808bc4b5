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

use landfall_bpf_lb::desired::{Frontend, Placement};
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
                    backends.any(|backend| backend.placement == Placement::Remote(node))
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
mod tests {
    use landfall_bpf_lb::desired::{
        Backend, BackendState, Desired, Endpoint, PodId, Protocol, Vip,
    };
    use landfall_bpf_lb::duties::message::Body;

    use super::*;
    use crate::testing::ip;

    #[test]
    fn answers_wait_for_the_programs_and_only_so_many_of_them() {
        let mut answers = Answers::default();
        for number in 0..2 * MOST_LETTERS {
            answers.wait(number as u64, vec![number]);
        }
        assert!(answers.ready(MOST_LETTERS as u64 - 1).is_empty());
        assert_eq!(answers.ready(MOST_LETTERS as u64), [MOST_LETTERS]);
        assert_eq!(answers.ready(u64::MAX).len(), MOST_LETTERS - 1);
    }

    fn keys(byte: u8) -> Arc<Keys> {
        let ring = KeyRing::new([[byte; 32].as_slice()]).unwrap();
        Arc::new((ClusterId::of("here"), ring))
    }

    fn flow(port: u16) -> Flow {
        Flow {
            client: SocketAddr::new(ip("198.51.100.7"), 40_000),
            frontend: Frontend {
                address: ip("192.0.2.100"),
                port,
                protocol: Protocol::Tcp,
            },
        }
    }

    /// As the node `own` sees it: the other one has a pod of the frontend at port 80.
    fn path(own: IpAddr, other: IpAddr) -> DataPath {
        let backend = Backend {
            pod: PodId::default(),
            placement: Placement::Remote(other),
            weight: 1,
            state: BackendState::Active,
        };
        let endpoint = Endpoint {
            address: ip("10.244.0.9"),
            port: 80,
        };
        let vip = Vip {
            backends: [(endpoint, backend)].into(),
            ..Vip::default()
        };
        DataPath {
            desired: Desired {
                frontends: [(flow(80).frontend, vip)].into(),
                ..Desired::default()
            },
            own: [own].into(),
            nodes: [(other, other)].into(),
            ..DataPath::default()
        }
    }

    /// A node that speaks until it is dropped.
    struct Node {
        owed: watch::Sender<Arc<Entries>>,
        kept: watch::Receiver<Numbered>,
        known: watch::Sender<u64>,
        _keys: watch::Sender<Option<Arc<Keys>>>,
        _paths: watch::Sender<Option<Arc<DataPath>>>,
        _going: watch::Sender<Arc<Going>>,
        restored: watch::Sender<Arc<Entries>>,
        disbelieved: Disbelieved,
        _task: AbortOnDropHandle<()>,
    }

    fn node(own: &str, other: &str) -> Node {
        let (keys, of_keys) = watch::channel(Some(keys(1)));
        let (paths, of_paths) = watch::channel(Some(Arc::new(path(ip(own), ip(other)))));
        let (owed, of_owed) = watch::channel(Arc::default());
        let (kept, of_kept) = watch::channel(Numbered::default());
        let (known, of_known) = watch::channel(0);
        let (going, of_going) = watch::channel(Arc::default());
        let (restored, of_restored) = watch::channel(Arc::default());
        let disbelieved = Disbelieved::default();
        let ends = Ends {
            keys: of_keys,
            paths: of_paths,
            owed: of_owed,
            kept,
            known: of_known,
            going: of_going,
            restored: of_restored,
            disbelieved: disbelieved.clone(),
        };
        let task = tokio::spawn(run(ends, CancellationToken::new()));
        Node {
            owed,
            kept: of_kept,
            known,
            _keys: keys,
            _paths: paths,
            _going: going,
            restored,
            disbelieved,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn keeps(node: &mut Node, expected: &Entries) {
        let becomes = node.kept.wait_for(|kept| *kept.entries == *expected);
        let number = tokio::time::timeout(Duration::from_secs(60), becomes)
            .await
            .expect("the other node hears of it in time")
            .unwrap()
            .number;
        node.known.send_replace(number);
    }

    #[tokio::test]
    async fn a_node_keeps_what_another_owes_it_as_long_as_that_has_a_pod_of_the_frontend() {
        let (a, b) = ("127.18.1.1", "127.18.1.2");
        let (mine, mut theirs) = (node(a, b), node(b, a));
        let owed = |ports: &[u16]| -> Arc<Entries> {
            Arc::new(ports.iter().map(|port| (flow(*port), ip(b))).collect())
        };
        mine.owed.send_replace(owed(&[80, 81]));
        keeps(&mut theirs, &[(flow(80), ip(a))].into()).await;
        mine.owed.send_replace(owed(&[]));
        keeps(&mut theirs, &Entries::new()).await;
    }

    #[tokio::test]
    async fn what_the_programs_have_from_an_earlier_process_stays_until_its_node_has_spoken() {
        let (a, b) = ("127.18.3.1", "127.18.3.2");
        let mut theirs = node(b, a);
        let entries =
            |ports: &[u16]| -> Entries { ports.iter().map(|port| (flow(*port), ip(a))).collect() };
        theirs.restored.send_replace(Arc::new(entries(&[80, 81])));
        keeps(&mut theirs, &entries(&[80, 81])).await;
        // The node has one of them no more: that is known once it has told the others again.
        let mine = node(a, b);
        mine.owed.send_replace(Arc::new([(flow(80), ip(b))].into()));
        keeps(&mut theirs, &entries(&[80])).await;
    }

    const OWN: &str = "127.18.2.1";
    const HONEST: &str = "127.18.2.2";
    const ELSEWHERE: &str = "127.18.2.3";

    /// One that listens to an honest node, which has a second address.
    fn listener() -> Dialogue {
        let mut dialogue = Dialogue::new(1);
        let mut seen = path(ip(OWN), ip(HONEST));
        seen.nodes.insert(ip(ELSEWHERE), ip(HONEST));
        dialogue.path = Arc::new(seen);
        dialogue
    }

    /// What the honest node says next.
    fn said(teller: &mut Owed, owed: Entries) -> Vec<u8> {
        teller.set(&owed);
        teller.due(clock::now()).remove(0).1.encode()
    }

    fn sealed(from: &str, keys: &Keys, message: &[u8]) -> Letter {
        let (from, to) = (ip(from), ip(OWN));
        Letter {
            from,
            to,
            bytes: letter::seal(keys.0, &keys.1, (from, to), message),
        }
    }

    #[test]
    fn what_is_forged_cut_short_or_from_elsewhere_changes_nothing_and_is_counted_by_reason() {
        let mut dialogue = listener();
        let honest = keys(1);
        let keep = said(&mut Owed::new(7), [(flow(80), ip(OWN))].into());
        let genuine = sealed(HONEST, &honest, &keep);
        let cut = |length: usize| Letter {
            bytes: genuine.bytes[..length].to_vec(),
            ..sealed(HONEST, &honest, &keep)
        };
        let there = (ClusterId::of("there"), honest.1.clone());
        let mut changed = sealed(HONEST, &honest, &keep);
        *changed.bytes.last_mut().unwrap() ^= 1;
        let mut attacks = vec![
            (sealed(HONEST, &keys(2), &keep), "unknown_key"),
            (changed, "wrong_code"),
            (sealed(HONEST, &there, &keep), "foreign_cluster"),
            (sealed("127.18.2.9", &honest, &keep), "stranger"),
            (
                sealed(HONEST, &honest, &keep[..keep.len() - 1]),
                "malformed",
            ),
            (sealed(HONEST, &honest, b""), "malformed"),
        ];
        // What an honest node has said, from elsewhere.
        let moved = Letter {
            from: ip(ELSEWHERE),
            ..sealed(HONEST, &honest, &keep)
        };
        attacks.push((moved, "wrong_code"));
        // The length of the codes is 36 bytes, behind 10 of the header.
        attacks.extend((0..46).map(|length| (cut(length), "truncated")));
        attacks.extend((46..genuine.bytes.len()).map(|length| (cut(length), "wrong_code")));
        for (attack, reason) in attacks {
            let Err(told) = read(&mut dialogue, &honest, &attack) else {
                panic!("believed, and not {reason}");
            };
            assert_eq!(told.label(), reason);
            assert_eq!(dialogue.kept.entries(), Entries::new());
        }
        assert!(matches!(
            read(&mut dialogue, &honest, &genuine),
            Ok(Some(_))
        ));
        assert_eq!(dialogue.kept.entries(), [(flow(80), ip(HONEST))].into());
    }

    #[test]
    fn what_was_recorded_and_is_said_again_undoes_nothing() {
        let mut dialogue = listener();
        let honest = keys(1);
        let one = || Entries::from([(flow(80), ip(OWN))]);
        let kept = |dialogue: &Dialogue| dialogue.kept.entries().len();
        let mut earlier = Owed::new(6);
        let mut teller = Owed::new(7);
        let before = sealed(HONEST, &honest, &said(&mut earlier, one()));
        let keep = sealed(HONEST, &honest, &said(&mut teller, one()));
        // Another batch, which takes back what the first one said.
        let answer = read(&mut dialogue, &honest, &keep).unwrap().unwrap();
        teller.answered(ip(OWN), &answer.2);
        let forget = sealed(HONEST, &honest, &said(&mut teller, Entries::new()));
        read(&mut dialogue, &honest, &forget).unwrap();
        assert_eq!(kept(&dialogue), 0);
        read(&mut dialogue, &honest, &keep).unwrap();
        assert_eq!(kept(&dialogue), 0, "an older word of the same process");
        let told = read(&mut dialogue, &honest, &before).err().unwrap();
        assert_eq!((told.label(), kept(&dialogue)), ("replayed", 0));
        // Nor does an old answer confirm what has not been heard: this node was started anew since.
        dialogue.owed = Owed::new(2);
        dialogue.owed.set(&[(flow(80), ip(HONEST))].into());
        let _ = dialogue.owed.due(clock::now());
        let old = Message {
            boot: 1,
            body: Body::Acknowledge { sequence: 1 },
        };
        read(
            &mut dialogue,
            &honest,
            &sealed(HONEST, &honest, &old.encode()),
        )
        .unwrap();
        let again = dialogue.owed.due(clock::now() + Duration::from_secs(1));
        assert!(matches!(again[0].1.body, Body::Keep { .. }), "{again:?}");
    }

    #[tokio::test]
    async fn a_flood_of_letters_is_counted_and_an_honest_one_is_heard_after_it() {
        let (a, b) = ("127.18.4.1", "127.18.4.2");
        let mut theirs = node(b, a);
        let flood = UdpSocket::bind((ip(a), 0)).await.unwrap();
        let target = SocketAddr::new(ip(b), PORT);
        let heard = |node: &Node| node.disbelieved.by_reason().values().sum::<u64>();
        let begun = tokio::time::Instant::now();
        while heard(&theirs) < 100 && begun.elapsed() < Duration::from_secs(60) {
            for _ in 0..100 {
                // Before the other one listens there is nobody to take it.
                let _ = flood.send_to(&[1; 200], target).await;
            }
            tokio::task::yield_now().await;
        }
        let reasons = theirs.disbelieved.by_reason();
        assert!(
            reasons
                .keys()
                .all(|reason| ["foreign_cluster", "flood"].contains(reason))
        );
        assert!(heard(&theirs) >= 100);
        assert_eq!(*theirs.kept.borrow().entries, Entries::new());
        let mine = node(a, b);
        mine.owed.send_replace(Arc::new([(flow(80), ip(b))].into()));
        keeps(&mut theirs, &[(flow(80), ip(a))].into()).await;
    }
}
