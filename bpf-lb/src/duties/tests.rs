//! What the two halves promise each other, over a channel that loses, delays and repeats.

use super::*;
use crate::desired::Protocol;
use proptest::prelude::*;

const ME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn flow(number: u16) -> Flow {
    let six = number.is_multiple_of(2);
    let (client, vip) = if six {
        ("2001:db8::7", "2001:db8::100")
    } else {
        ("198.51.100.7", "192.0.2.100")
    };
    Flow {
        client: SocketAddr::new(client.parse().unwrap(), 40_000 + number),
        frontend: Frontend {
            address: vip.parse().unwrap(),
            port: 80,
            protocol: Protocol::Tcp,
        },
    }
}

fn owed(numbers: impl IntoIterator<Item = u16>) -> BTreeMap<Flow, IpAddr> {
    numbers.into_iter().map(|n| (flow(n), OTHER)).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Everything arrives at once.
fn exchange(owed: &mut Owed, kept: &mut Kept, now: Duration) {
    for (node, message) in owed.due(now) {
        assert_eq!(node, OTHER);
        let arrived = Message::decode(&message.encode()).unwrap();
        if let Some(answer) = kept.receive(ME, &arrived, now, |_| true) {
            owed.answered(OTHER, &Message::decode(&answer.encode()).unwrap());
        }
    }
}

fn has(kept: &Kept) -> BTreeSet<Flow> {
    kept.entries().into_keys().collect()
}

#[test]
fn what_is_owed_is_kept_until_it_is_withdrawn() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..100));
    assert!(!mine.has_told_all());
    exchange(&mut mine, &mut theirs, seconds(1));
    assert!(mine.has_told_all());
    assert_eq!(has(&theirs).len(), 100);
    mine.set(&owed(50..60));
    exchange(&mut mine, &mut theirs, seconds(2));
    assert_eq!(has(&theirs), (50..60).map(flow).collect());
}

#[test]
fn what_is_kept_is_gathered_again_only_after_somebody_spoke_or_fell_silent() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    assert_eq!(theirs.news(), None);
    mine.set(&owed(0..3));
    exchange(&mut mine, &mut theirs, seconds(1));
    assert_eq!(theirs.news().map(|news| news.len()), Some(3));
    assert_eq!(theirs.news(), None);
    theirs.expire(seconds(2));
    assert_eq!(theirs.news(), None);
    theirs.expire(seconds(1) + FORGOTTEN);
    assert_eq!(theirs.news(), Some(BTreeMap::new()));
    theirs.restore(&owed(0..1), seconds(70));
    assert_eq!(theirs.news().map(|news| news.len()), Some(1));
}

#[test]
fn what_is_acknowledged_is_not_said_again_but_by_its_digest() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..100));
    exchange(&mut mine, &mut theirs, seconds(1));
    exchange(&mut mine, &mut theirs, seconds(2));
    assert_eq!(mine.due(seconds(10)), []);
    let said = mine.due(seconds(2) + REFRESH);
    assert!(matches!(
        said[..],
        [(
            OTHER,
            Message {
                body: Body::Digest(Digest { count: 100, .. }),
                ..
            }
        )]
    ));
}

#[test]
fn a_node_that_has_lost_everything_asks_for_it() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..100));
    exchange(&mut mine, &mut theirs, seconds(1));
    let mut theirs = Kept::default();
    exchange(&mut mine, &mut theirs, seconds(1) + REFRESH);
    exchange(&mut mine, &mut theirs, seconds(2) + REFRESH);
    assert_eq!(has(&theirs).len(), 100);
}

#[test]
fn what_comes_back_after_everything_was_withdrawn_is_kept_again() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    for (second, numbers) in [(1, 0..1), (2, 0..2), (3, 0..0), (4, 0..0), (5, 0..1)] {
        mine.set(&owed(numbers));
        exchange(&mut mine, &mut theirs, seconds(second));
    }
    assert!(mine.has_told_all());
    assert_eq!(has(&theirs), [flow(0)].into());
}

#[test]
fn what_an_earlier_process_was_told_stays_until_its_node_has_told_all_again() {
    let before: BTreeMap<Flow, IpAddr> = (0..100).map(|n| (flow(n), ME)).collect();
    let mut theirs = Kept::default();
    theirs.restore(&before, seconds(1));
    assert_eq!(has(&theirs).len(), 100);
    // One of them is over.
    let mut mine = Owed::new(1);
    mine.set(&owed(1..100));
    exchange(&mut mine, &mut theirs, seconds(2));
    assert_eq!(has(&theirs).len(), 100, "not all has been compared");
    exchange(&mut mine, &mut theirs, seconds(2) + REFRESH);
    assert_eq!(has(&theirs), (1..100).map(flow).collect());
    // Of a node that says nothing any more it goes as everything does.
    let mut theirs = Kept::default();
    theirs.restore(&before, seconds(1));
    theirs.expire(seconds(1) + FORGOTTEN);
    assert_eq!(has(&theirs).len(), 0);
}

#[test]
fn the_entries_of_a_silent_node_are_forgotten() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..3));
    exchange(&mut mine, &mut theirs, seconds(1));
    theirs.expire(seconds(60));
    assert_eq!(has(&theirs).len(), 3);
    theirs.expire(seconds(61));
    assert!(has(&theirs).is_empty());
}

#[test]
fn a_restarted_teller_starts_anew_and_its_late_words_are_not_heard() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..3));
    exchange(&mut mine, &mut theirs, seconds(1));
    mine.set(&owed(0..5));
    let late = mine.due(seconds(2));
    let mut again = Owed::new(2);
    again.set(&owed(7..9));
    exchange(&mut again, &mut theirs, seconds(2));
    for (_, message) in late {
        assert_eq!(theirs.receive(ME, &message, seconds(3), |_| true), None);
    }
    // What the earlier one told is kept until the later one has told everything.
    assert_eq!(has(&theirs), [0, 1, 2, 7, 8].map(flow).into());
    exchange(&mut again, &mut theirs, seconds(4));
    assert_eq!(has(&theirs), (7..9).map(flow).collect());
}

#[test]
fn a_node_that_loses_a_slot_is_told_only_after_the_next_one_knows() {
    const NEXT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
    let mut mine = Owed::new(1);
    let (mut before, mut after) = (Kept::default(), Kept::default());
    mine.set(&owed(0..1));
    exchange(&mut mine, &mut before, seconds(1));
    mine.set(&[(flow(0), NEXT)].into());
    let said = mine.due(seconds(2));
    assert!(matches!(
        said[..],
        [(
            NEXT,
            Message {
                body: Body::Keep { .. },
                ..
            }
        )]
    ));
    let answer = after.receive(ME, &said[0].1, seconds(2), |_| true).unwrap();
    mine.answered(NEXT, &answer);
    let said = mine.due(seconds(2));
    assert!(
        said.iter()
            .any(|(node, message)| *node == OTHER && matches!(message.body, Body::Forget { .. }))
    );
}

#[test]
fn an_answer_says_nothing_of_the_process_it_comes_from() {
    // Two nodes that owe each other; the first has started later.
    let (mut first, mut second) = (
        (Owed::new(2), Kept::default()),
        (Owed::new(1), Kept::default()),
    );
    for (now, numbers) in [(1, 0..2), (2, 2..5)] {
        first.0.set(&owed(numbers.clone()));
        second
            .0
            .set(&numbers.map(|n| (flow(n + 100), ME)).collect());
        let now = seconds(now);
        for _ in 0..2 {
            for (_, message) in first.0.due(now) {
                second.0.answered(ME, &message);
                let answer = second.1.receive(ME, &message, now, |_| true);
                if let Some(answer) = answer {
                    first.0.answered(OTHER, &answer);
                    assert_eq!(first.1.receive(OTHER, &answer, now, |_| true), None);
                }
            }
            for (_, message) in second.0.due(now) {
                first.0.answered(OTHER, &message);
                let answer = first.1.receive(OTHER, &message, now, |_| true);
                if let Some(answer) = answer {
                    second.0.answered(ME, &answer);
                    assert_eq!(second.1.receive(ME, &answer, now, |_| true), None);
                }
            }
        }
        assert!(first.0.has_told_all() && second.0.has_told_all());
    }
    assert_eq!(has(&second.1), (2..5).map(flow).collect());
    assert_eq!(has(&first.1), (102..105).map(flow).collect());
}

#[test]
fn of_two_nodes_that_claim_a_connection_the_last_to_come_is_believed() {
    const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
    let tell = |kept: &mut Kept, from: IpAddr, mine: &mut Owed, now: Duration| {
        for (_, message) in mine.due(now) {
            if let Some(answer) = kept.receive(from, &message, now, |_| true) {
                mine.answered(OTHER, &answer);
            }
        }
    };
    let (mut before, mut after, mut kept) = (Owed::new(1), Owed::new(1), Kept::default());
    before.set(&owed(0..1));
    tell(&mut kept, FIRST, &mut before, seconds(1));
    after.set(&owed(0..1));
    tell(&mut kept, ME, &mut after, seconds(2));
    assert_eq!(kept.entries(), [(flow(0), ME)].into());
    // What was known before is said again, and is no news.
    kept.expire(seconds(3));
    tell(&mut kept, FIRST, &mut before, seconds(2) + REFRESH);
    assert_eq!(kept.entries(), [(flow(0), ME)].into());
    after.set(&owed(0..0));
    tell(&mut kept, ME, &mut after, seconds(30));
    assert_eq!(kept.entries(), [(flow(0), FIRST)].into());
}

#[test]
fn what_has_no_room_is_not_acknowledged() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    let many = |count: usize| {
        (0..count)
            .map(|number| {
                let mut flow = flow(1);
                let high = u8::try_from(number >> 16).unwrap();
                flow.client.set_ip([198, 51, 100, high].into());
                flow.client
                    .set_port(u16::try_from(number & 0xffff).unwrap());
                (flow, OTHER)
            })
            .collect()
    };
    mine.set(&many(MOST_KEPT));
    exchange(&mut mine, &mut theirs, seconds(1));
    assert!(mine.has_told_all());
    mine.set(&many(MOST_KEPT + 1));
    exchange(&mut mine, &mut theirs, seconds(2));
    assert!(!mine.has_told_all());
    assert_eq!(has(&theirs).len(), MOST_KEPT);
}

#[test]
fn a_node_is_believed_only_about_its_own_connections() {
    let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
    mine.set(&owed(0..10));
    for (_, message) in mine.due(seconds(1)) {
        let own = |of: &Flow| *of != flow(3);
        theirs.receive(ME, &message, seconds(1), own);
    }
    assert_eq!(has(&theirs).len(), 9);
    assert!(!has(&theirs).contains(&flow(3)));
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut bytes = Message {
        boot: 1,
        body: Body::TellAgain,
    }
    .encode();
    bytes[0] = 9;
    assert_eq!(
        Message::decode(&bytes),
        Err(message::Unreadable::Version(9))
    );
}

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Arrives,
    IsLost,
    ArrivesTwice,
    ArrivesLate,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        3 => Just(Luck::Arrives),
        2 => Just(Luck::IsLost),
        1 => Just(Luck::ArrivesTwice),
        1 => Just(Luck::ArrivesLate),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(BTreeSet<u16>, Vec<Luck>, bool)>> {
    let numbers = proptest::collection::btree_set(0u16..40, 0..40);
    let lucks = proptest::collection::vec(luck(), 8);
    proptest::collection::vec((numbers, lucks, prop::bool::weighted(0.1)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn over_a_bad_channel_both_agree_in_the_end(steps in steps()) {
        let (mut mine, mut theirs) = (Owed::new(1), Kept::default());
        let mut boot = 1;
        let mut now = seconds(1);
        let mut late: Vec<Message> = Vec::new();
        let mut last = BTreeSet::new();
        for (numbers, lucks, restarts) in steps {
            if restarts {
                boot += 1;
                mine = Owed::new(boot);
            }
            last = numbers.iter().copied().map(flow).collect();
            mine.set(&owed(numbers));
            for (index, (_, message)) in mine.due(now).into_iter().enumerate() {
                let luck = lucks[index % lucks.len()];
                let times = match luck {
                    Luck::Arrives => 1,
                    Luck::ArrivesTwice => 2,
                    Luck::IsLost => 0,
                    Luck::ArrivesLate => { late.push(message.clone()); 0 }
                };
                for _ in 0..times {
                    if let Some(answer) = theirs.receive(ME, &message, now, |_| true)
                        && !matches!(lucks[(index + 3) % lucks.len()], Luck::IsLost)
                    {
                        mine.answered(OTHER, &answer);
                    }
                }
            }
            // What is late arrives after what was said later.
            if late.len() > 2 {
                for message in late.drain(..) {
                    if let Some(answer) = theirs.receive(ME, &message, now, |_| true) {
                        mine.answered(OTHER, &answer);
                    }
                }
            }
            now += seconds(1);
        }
        // The channel is good again.
        for _ in 0..4 {
            now += REFRESH;
            exchange(&mut mine, &mut theirs, now);
            now += seconds(1);
            exchange(&mut mine, &mut theirs, now);
        }
        theirs.expire(now);
        prop_assert_eq!(has(&theirs), last);
        prop_assert!(mine.has_told_all());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(message) = Message::decode(&bytes) {
            // What is unused in the header may differ; the meaning does not.
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_malformed(numbers in proptest::collection::vec(any::<u16>(), 0..BATCH), cut in any::<prop::sample::Index>()) {
        let flows = numbers.into_iter().map(|n| flow(n % 20_000)).collect();
        let message = Message { boot: 7, body: Body::Keep { sequence: 9, flows } };
        let bytes = message.encode();
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
        let cut = cut.index(bytes.len());
        prop_assert_eq!(Message::decode(&bytes[..cut]), Err(message::Unreadable::Malformed));
    }
}

use message::BATCH;
