//! Whose renewals are watched, and what follows where they are not.

use super::*;

/// Node `n00` among others of that many, all with sessions; no address.
struct Crowd {
    owners: Owners,
    now: Now,
}

fn named(n: usize) -> NodeName {
    node(&format!("n{n:02}"))
}

impl Crowd {
    fn new(count: usize) -> Self {
        let mut crowd = Self {
            owners: Owners::new(named(0), Settings::for_duration(secs(15))),
            now: secs(100),
        };
        crowd.tell(Event::SessionStarted(session("n00-1"), crowd.now));
        for n in 0..count {
            let name = format!("n{n:02}-1");
            crowd.tell(Event::LeaseSeen(named(n), lease(&name, 1)));
        }
        crowd.pass(0);
        crowd
    }

    fn tell(&mut self, event: Event) {
        self.owners.observe(event, self.now);
    }

    /// So many seconds, in which the own session is renewed. The sessions that it wants ended then.
    fn pass(&mut self, seconds: u64) -> Vec<(NodeName, Option<Version>)> {
        for _ in 0..seconds {
            self.now += secs(1);
            self.tell(Event::Renewed(session("n00-1"), self.now));
        }
        let (records, candidates) = (BTreeMap::new(), BTreeMap::new());
        let world = World {
            records: &records,
            candidates: &candidates,
            without_interface: &BTreeSet::new(),
        };
        let writes = self.owners.decide(&world, self.now).writes.into_iter();
        let expired = writes.filter_map(|write| match write {
            Write::Expire { node, renewal, .. } => Some((node, renewal)),
            _ => None,
        });
        expired.collect()
    }

    fn lives(&self, node: &NodeName) -> bool {
        self.owners.live_nodes(self.now).contains(node)
    }
}

#[test]
fn of_few_sessions_all_are_watched_and_of_many_four() {
    for (count, watched) in [(1, 0), (3, 2), (10, 9), (11, 4), (200, 4)] {
        let crowd = Crowd::new(count);
        // In two rings the same node may be a neighbour twice.
        let found = crowd.owners.watched().len();
        let rings = watched == 4 && (2..=4).contains(&found);
        assert!(found == watched || rings, "{found} of {count}");
        assert!(!crowd.owners.watched().contains(&named(0)));
    }
}

#[test]
fn a_session_that_others_watch_lives_until_its_lease_says_otherwise() {
    let mut crowd = Crowd::new(12);
    let watched = crowd.owners.watched().clone();
    let other = (1..12).map(named).find(|node| !watched.contains(node));
    let other = other.unwrap();
    let mut expired = BTreeSet::new();
    for _ in 0..60 {
        expired.extend(crowd.pass(1).into_iter().map(|(node, _)| node));
    }
    assert_eq!(expired, watched, "of those nothing was heard");
    assert!(crowd.lives(&other) && watched.iter().all(|node| !crowd.lives(node)));
    crowd.tell(Event::LeaseSeen(other.clone(), lease("", 20)));
    assert!(!crowd.lives(&other));
}

#[test]
fn a_session_is_ended_at_its_last_renewal_and_not_before_that_is_too_old() {
    let mut crowd = Crowd::new(2);
    let renewed = |version: u64| Event::RenewalSeen(named(1), Version::new(version.to_string()));
    for version in 50..60 {
        crowd.tell(renewed(version));
        assert_eq!(crowd.pass(10), [], "it is renewed");
    }
    crowd.tell(renewed(60));
    crowd.pass(1);
    // An older one that comes late, and the same once more, are no sign of life.
    crowd.tell(renewed(59));
    crowd.tell(renewed(60));
    assert_eq!(crowd.pass(13), []);
    let last = Some(Version::new("60"));
    assert_eq!(crowd.pass(3), [(named(1), last)]);
    assert!(!crowd.lives(&named(1)));
    // It was renewed after all.
    crowd.tell(renewed(61));
    crowd.tell(Event::InquiryEnded(named(1)));
    assert_eq!(crowd.pass(5), []);
    assert!(crowd.lives(&named(1)));
}

#[test]
fn who_begins_to_watch_gives_a_whole_session_from_then() {
    let mut crowd = Crowd::new(12);
    crowd.pass(100);
    // Watchers of some die, and their neighbours take their places.
    let before = crowd.owners.watched().clone();
    for node in &before {
        crowd.tell(Event::LeaseSeen(node.clone(), lease("", 30)));
    }
    crowd.pass(0);
    let new: Vec<NodeName> = crowd.owners.watched().iter().cloned().collect();
    assert!(!new.is_empty() && new.iter().all(|node| !before.contains(node)));
    assert_eq!(crowd.pass(14), []);
    assert!(new.iter().all(|node| crowd.lives(node)));
    let ended: BTreeSet<NodeName> = crowd.pass(3).into_iter().map(|(node, _)| node).collect();
    assert!(!ended.is_empty() && ended.iter().all(|node| new.contains(node)));
}

#[test]
fn renewals_of_another_history_count_however_old_they_look() {
    let mut crowd = Crowd::new(2);
    crowd.tell(Event::RenewalSeen(named(1), Version::new("900")));
    crowd.pass(10);
    crowd.tell(Event::WentBack);
    crowd.tell(Event::RenewalSeen(named(1), Version::new("7")));
    assert_eq!(crowd.pass(10), []);
    assert!(crowd.lives(&named(1)));
}
