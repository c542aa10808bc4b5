use landfall_bpf_lb::desired::{
    Backend, BackendState, Desired, Endpoint, Placement, PodId, Protocol, Vip,
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
            frontends: [(flow(80).frontend, vip.into())].into(),
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
