//! What the heartbeats' thread is told, and what it found out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use landfall_election::peers::{self, Known, OwnEnd, Proof, Report};
use landfall_wire::Mac;
use landfall_wire::peers::KeyId;

use super::Brain;
use super::effects::Effects;
use crate::election::Now;
use crate::election::owners::{Decision, Event};
use crate::link::IfIndex;
use crate::model::Ended;
use crate::names::{NodeName, SessionId};

/// At least so often the thread hears of this half, and so that it is at work.
const AGAIN: Duration = Duration::from_millis(250);

/// Of so many of its addresses a node says on the object itself that its session was taken.
const TOLD_OF_A_WRONG: usize = 8;

/// What the thread shall know; the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeats {
    /// Interfaces to speak on, and their Ethernet addresses.
    pub segments: BTreeMap<IfIndex, Mac>,
    /// Where other nodes are to be found.
    pub nodes: BTreeMap<NodeName, Whereabouts>,
    /// The keys that each of the others believes.
    pub keys: Vec<Vec<KeyId>>,
    /// Sessions that hold a Lease, of other nodes.
    pub known: Vec<Known>,
}

/// Where a node is to be found without its heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The Ethernet addresses it publishes.
    pub macs: Vec<Mac>,
    /// What it can be asked for, one of each family: addresses it answers for; its own, if it answers for none.
    pub addresses: Vec<IpAddr>,
}

/// What is counted of sessions of others that heartbeats ended, and of suspects that were found to live.
const OUTCOMES: [&str; 7] = [
    "agreed",
    "fenced",
    "own",
    "vetoed_answer",
    "vetoed_fellow",
    "vetoed_refused",
    "wrongly",
];

/// What is on its way to the thread.
#[derive(Debug)]
pub(super) struct ToPeers {
    events: Vec<peers::Event>,
    said: Option<Heartbeats>,
    session_over: Option<SessionId>,
    /// Other machines go on with these by this node's name: do, or may.
    elsewhere: Vec<(SessionId, bool)>,
    /// Where authentic frames come from; none while there are no keys.
    pub(super) heard_from: Option<BTreeSet<Mac>>,
    /// Something has changed that the thread may have to know.
    pub(super) due: bool,
    /// The keys that this node believes.
    pub(super) keys: Vec<KeyId>,
    /// How often each of them was.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Default for ToPeers {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            said: None,
            session_over: None,
            elsewhere: Vec::new(),
            heard_from: None,
            due: false,
            keys: Vec::new(),
            // From nothing on: who looks at an increase would miss the first one of an outcome that was not there before.
            counts: OUTCOMES.map(|outcome| (outcome, 0)).into(),
        }
    }
}

impl Brain {
    /// Takes in what the thread found out.
    pub(super) fn peers_said(&mut self, report: Report, now: Now) {
        // Of what is heard all the time nothing is written.
        self.report_due |= !matches!(
            report,
            Report::Flags(..) | Report::Claims(..) | Report::Moves(..) | Report::Ceded(..)
        );
        if let Report::OwnEnded(end) = &report {
            self.to_peers.session_over = self.owners.session().cloned();
            if *end == OwnEnd::Copy {
                let copied = self.owners.session().cloned();
                let elsewhere = &mut self.to_peers.elsewhere;
                elsewhere.extend(copied.map(|session| (session, true)));
            }
        }
        self.owners.observe(Event::Report(report.clone()), now);
        match report {
            Report::Ended(fenced, heard_at) => {
                self.count(if fenced.written { "fenced" } else { "agreed" });
                tracing::info!(
                    node = %fenced.node, session = %fenced.session, by = %fenced.by, written = fenced.written,
                    "a silent session is over"
                );
                self.silences.over(fenced.session.clone(), heard_at);
                let ended = Ended {
                    session: fenced.session,
                    conceded: false,
                };
                let known = self.world.ended.get(&fenced.node);
                if known.is_none_or(|known| known.session != ended.session) {
                    self.world.ended.insert(fenced.node, ended);
                }
                self.path_next = true;
            }
            Report::Conceded(node, session) => {
                tracing::info!(%node, %session, "a node whose session is over lives");
                let ended = self.world.ended.get_mut(&node);
                if let Some(ended) = ended.filter(|ended| ended.session == session) {
                    ended.conceded = true;
                    self.path_next = true;
                }
            }
            Report::OwnEnded(end) => {
                self.count("own");
                match end {
                    OwnEnd::Fenced {
                        by: Some(by),
                        wrongly: true,
                    } => self.suffered(by, now),
                    OwnEnd::Fenced { by, .. } => {
                        self.was_fenced(now);
                        tracing::warn!(
                            by = by.as_ref().map_or("a peer", NodeName::as_str),
                            "this node was silent to its peers, which ended its session; beginning another"
                        );
                    }
                    OwnEnd::Copy => tracing::warn!(
                        "this process is the copy of one that went on; beginning another session"
                    ),
                }
            }
            Report::Vetoed { node, proof } => {
                self.count(match proof {
                    Proof::Fellow => "vetoed_fellow",
                    Proof::Answer => "vetoed_answer",
                    Proof::Refused => "vetoed_refused",
                });
                tracing::info!(%node, ?proof, "a session is silent, and lives");
            }
            Report::SameName { session, lives } => {
                if lives {
                    tracing::warn!(
                        %session,
                        "another machine speaks by the name of this node, {}, or somebody says again what was recorded",
                        self.me
                    );
                }
                self.to_peers.elsewhere.push((session, lives));
            }
            Report::FewHear(few) => {
                tracing::warn!(few, "whether fewer than half of the peers hear this node");
            }
            Report::Up { node, session, .. } => tracing::debug!(%node, %session, "heard both ways"),
            Report::Down { node, session } | Report::Unwatched { node, session } => {
                tracing::debug!(%node, %session, "not heard both ways any more");
            }
            Report::EndedThoughHeard(node) => {
                tracing::info!(%node, "a session is over that this node hears: it takes nothing for a moment");
            }
            Report::Flags(..) | Report::Claims(..) | Report::Moves(..) | Report::Ceded(..) => {}
        }
    }

    /// A peer ended the session, and rightly.
    fn was_fenced(&mut self, now: Now) {
        self.fences.note(now);
        self.plan_due = true;
    }

    /// A peer ended the session although others heard this node.
    fn suffered(&mut self, by: NodeName, now: Now) {
        self.count("wrongly");
        let note = format!(
            "node {by} ended the session of node {} although its peers heard it; for a minute it is not believed again. \
             If it goes on, its token may be stolen: delete the announcer's Pod on {by}, or take the node out of the cluster",
            self.me
        );
        tracing::warn!(%by, "{note}");
        let some: Vec<IpAddr> = self
            .answering
            .iter()
            .take(TOLD_OF_A_WRONG)
            .copied()
            .collect();
        for address in some {
            self.notify(address, true, "SessionTaken", note.clone());
        }
        self.fences.forgive();
        self.wrongs.suffered(by, now);
    }

    /// The own Lease says that a node has ended the session.
    pub(super) fn taken(&mut self, by: NodeName, since: Now) {
        let taken = peers::Event::Taken { by, since };
        self.to_peers.events.push(taken);
    }

    /// A node says who wronged it.
    pub(super) fn wronged(&mut self, node: NodeName, by: NodeName) {
        tracing::warn!(%node, %by, "a session was ended although its peers heard it, says its node");
        let wronged = peers::Event::Wronged { node, by };
        self.to_peers.events.push(wronged);
    }

    fn count(&mut self, what: &'static str) {
        *self.to_peers.counts.entry(what).or_default() += 1;
    }

    /// Takes over what a decision is to the thread.
    pub(super) fn decided(&mut self, decision: &Decision) {
        self.answering.clone_from(&decision.answering);
        let flags = peers::Event::Flags(decision.flags);
        let say = decision.say.iter().cloned();
        let say = say.map(|(to, body)| peers::Event::Say(to, body));
        self.to_peers
            .events
            .extend(std::iter::once(flags).chain(say));
    }

    /// What is to be said to the thread after a decision.
    pub(super) fn tell_peers(&mut self, now: Now, effects: &mut Effects) {
        effects.session_over = self.to_peers.session_over.take();
        effects.elsewhere = std::mem::take(&mut self.to_peers.elsewhere);
        if std::mem::take(&mut self.to_peers.due) {
            let heartbeats = self.heartbeats();
            if self.to_peers.said.as_ref() != Some(&heartbeats) {
                self.to_peers.said = Some(heartbeats.clone());
                effects.heartbeats = Some(heartbeats);
            }
        }
        effects.to_peers = std::mem::take(&mut self.to_peers.events);
        let again = now + AGAIN;
        effects.wake_no_later(again);
    }

    /// The thread speaks for the same session as the election.
    pub(super) fn session_news(&mut self, event: &Event, now: Now) {
        match event {
            Event::WasFenced => self.was_fenced(now),
            Event::SessionStarted(..) => self.fences.begin(),
            _ => {}
        }
        self.to_peers.events.push(match event {
            Event::SessionStarted(session, at) => peers::Event::Began(session.clone(), *at),
            Event::Renewed(session, at) => peers::Event::Confirmed(session.clone(), *at),
            Event::SessionLost => peers::Event::Lost,
            _ => return,
        });
    }

    fn heartbeats(&self) -> Heartbeats {
        let own: BTreeMap<&str, Mac> = self
            .plan
            .publish
            .iter()
            .map(|interface| (interface.name.as_str(), interface.mac))
            .collect();
        let segments = self.links.links.values().filter_map(|link| {
            let mac = own.get(link.name.as_str())?;
            Some((link.index, *mac))
        });
        let others = || {
            self.world
                .peers
                .iter()
                .filter(|(node, _)| **node != self.me)
        };
        let known = others().filter_map(|(node, peer)| {
            Some(Known {
                node: node.clone(),
                session: peer.lease.session.clone()?,
            })
        });
        let keys = others().map(|(_, peer)| peer.keys.clone());
        Heartbeats {
            segments: segments.collect(),
            nodes: self.whereabouts(),
            keys: keys.filter(|keys| !keys.is_empty()).collect(),
            known: known.collect(),
        }
    }

    fn whereabouts(&self) -> BTreeMap<NodeName, Whereabouts> {
        let mut owned: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for (address, lbip) in &self.world.lbips {
            if let Some(owner) = &lbip.status.owner {
                owned.entry(&owner.session).or_default().insert(*address);
            }
        }
        let others = self
            .world
            .peers
            .iter()
            .filter(|(node, _)| **node != self.me);
        let where_is = others.map(|(node, peer)| {
            let session = peer.lease.session.as_ref();
            let answers_for = session.and_then(|session| owned.get(session.as_str()));
            // Its kernel answers for the node's own addresses, whatever became of its announcer: only where that has
            // nothing to answer for is there nothing better to ask.
            let all: Vec<IpAddr> = match answers_for {
                Some(addresses) => addresses.iter().copied().collect(),
                None => {
                    let node = self.world.nodes.get(node).into_iter();
                    node.flat_map(|node| node.addresses.clone()).collect()
                }
            };
            let first = |v4: bool| all.iter().find(|address| address.is_ipv4() == v4).copied();
            let whereabouts = Whereabouts {
                macs: peer
                    .interfaces
                    .iter()
                    .map(|interface| interface.mac)
                    .collect(),
                addresses: [first(true), first(false)].into_iter().flatten().collect(),
            };
            (node.clone(), whereabouts)
        });
        where_is.collect()
    }
}

#[cfg(test)]
mod tests {
    use landfall_crds::LoadBalancerIPStatus;
    use landfall_election::peers::Fenced;

    use super::super::tests::{brain, owning, record, session, swaps, wall};
    use super::super::{Input, Object, SwapOutcome};
    use super::*;
    use crate::testing::{VIP, ip, mac, secs};

    /// n1 knows that n2 answers for the address.
    fn owned_by_n2() -> Brain {
        let mut brain = brain(&["n2"]);
        let status = LoadBalancerIPStatus {
            owner: Some(landfall_crds::Owner {
                node: "n2".into(),
                session: "n2-s".into(),
                transitions: 1,
                ..landfall_crds::Owner::default()
            }),
            ..LoadBalancerIPStatus::default()
        };
        let seen = Input::Applied(Object::Address(record(6, status)));
        brain.take(seen, secs(100));
        brain
    }

    #[test]
    fn the_address_of_a_session_that_peers_ended_is_claimed_in_the_same_step() {
        let mut brain = owned_by_n2();
        assert!(swaps(&brain.step(secs(101), &wall())).is_empty());
        let fenced = Fenced {
            node: NodeName::new("n2"),
            session: SessionId::new("n2-s"),
            by: NodeName::new("n1"),
            written: true,
        };
        let ended = Report::Ended(fenced, Some(secs(101)));
        brain.take(Input::Peers(ended), secs(102));
        let effects = brain.step(secs(102), &wall());
        let [swap] = swaps(&effects)[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(swap.status.owner.as_ref().unwrap().node, "n1");
        let silences = brain.summary(secs(102)).silences;
        assert_eq!((silences["fenced"], silences["agreed"]), (1, 0));
        // The claim does not wait until it is known what the end means to the data path; that is next.
        assert!(brain.path_due);
        assert_eq!(effects.wake_at, Some(secs(102)));
        assert!(effects.taken_over.is_empty(), "it is claimed first");
        let done = SwapOutcome::Done(Box::new(record(7, swap.status.clone())));
        brain.take(Input::Swapped(VIP, done), secs(103));
        let effects = brain.step(secs(103), &wall());
        assert_eq!(effects.taken_over, [secs(101)], "it was heard then");
        assert!(brain.step(secs(103), &wall()).taken_over.is_empty(), "once");
    }

    /// n2 answers for the address in this session, and n1 stands by.
    fn n1_stands_by(brain: &mut Brain, version: u64, session: &str) {
        let owner = landfall_crds::Owner {
            node: "n2".into(),
            session: session.into(),
            standby: Some("n1".into()),
            transitions: 1,
            ..landfall_crds::Owner::default()
        };
        let status = LoadBalancerIPStatus {
            owner: Some(owner),
            ..LoadBalancerIPStatus::default()
        };
        let seen = Input::Applied(Object::Address(record(version, status)));
        brain.take(seen, secs(100));
    }

    #[test]
    fn a_standby_answers_first_and_says_what_is_to_be_written_of_it_in_the_step_after() {
        let mut brain = owned_by_n2();
        n1_stands_by(&mut brain, 7, "n2-s");
        brain.step(secs(101), &wall());
        let fenced = Fenced {
            node: NodeName::new("n2"),
            session: SessionId::new("n2-s"),
            by: NodeName::new("n3"),
            written: true,
        };
        let ended = Report::Ended(fenced, Some(secs(101)));
        brain.take(Input::Peers(ended), secs(102));
        let effects = brain.step(secs(102), &wall());
        assert_eq!(effects.owned.len(), 1);
        assert!(brain.report_due);
        assert_eq!(effects.wake_at, Some(secs(102)));
        brain.step(secs(102), &wall());
        assert!(!brain.report_due);
    }

    #[test]
    fn another_owner_of_an_address_is_no_reason_to_plan_anew_and_another_holder_is() {
        let mut brain = owned_by_n2();
        brain.step(secs(101), &wall());
        n1_stands_by(&mut brain, 7, "n2-t");
        assert!(!brain.plan_due && !brain.path_due);
        assert!(brain.report_due && brain.to_peers.due);
        brain.step(secs(101), &wall());
        let mut other = record(8, LoadBalancerIPStatus::default());
        other.holders.clear();
        brain.take(Input::Applied(Object::Address(other)), secs(101));
        assert!(brain.plan_due && brain.path_due);
    }

    #[test]
    fn a_node_that_concedes_the_end_of_its_session_is_not_silenced_until_it_begins_another() {
        let mut brain = owned_by_n2();
        let (node, session) = (NodeName::new("n2"), SessionId::new("n2-s"));
        let fenced = Fenced {
            node: node.clone(),
            session: session.clone(),
            by: NodeName::new("n1"),
            written: false,
        };
        let silenced = |brain: &Brain| brain.world.is_silenced(&NodeName::new("n2"));
        brain.take(Input::Peers(Report::Ended(fenced.clone(), None)), secs(101));
        assert!(silenced(&brain));
        brain.take(Input::Peers(Report::Conceded(node, session)), secs(102));
        assert!(!silenced(&brain));
        assert!(brain.path_next, "the data path is to know");
        // In writing now, which is no news of the node.
        brain.take(Input::Peers(Report::Ended(fenced, None)), secs(103));
        assert!(!silenced(&brain));
    }

    #[test]
    fn a_node_whose_session_peers_ended_answers_nothing_and_begins_another() {
        let mut brain = owning(&["n2"]);
        assert_eq!(brain.step(secs(102), &wall()).owned.len(), 1);
        let ended = Report::OwnEnded(OwnEnd::Fenced {
            by: None,
            wrongly: false,
        });
        brain.take(Input::Peers(ended), secs(103));
        let effects = brain.step(secs(103), &wall());
        assert!(effects.owned.is_empty());
        assert_eq!(effects.session_over, Some(SessionId::new("n1-s")));
        let again = brain.step(secs(103), &wall());
        assert_eq!(again.session_over, None, "it is said once");
    }

    #[test]
    fn a_node_that_is_fenced_again_and_again_says_so_and_comes_after_the_others() {
        let mut brain = owning(&["n2"]);
        let mut unsteady = Vec::new();
        for at in [200, 300, 400] {
            brain.take(Input::Session(Event::WasFenced), secs(at));
            let ended = Report::OwnEnded(OwnEnd::Fenced {
                by: None,
                wrongly: false,
            });
            brain.take(Input::Peers(ended), secs(at));
            let published = brain.step(secs(at), &wall()).published.unwrap();
            let candidates = &brain.candidates[&VIP];
            let me = candidates.iter().find(|one| one.node.as_str() == "n1");
            unsteady.push((published.unsteady, me.unwrap().unsteady));
            let next = SessionId::new(format!("n1-{at}"));
            brain.take(
                Input::Session(Event::SessionStarted(next, secs(at))),
                secs(at),
            );
        }
        assert_eq!(unsteady, [(false, false), (false, false), (true, true)]);
        let later = brain.step(secs(801), &wall()).published.unwrap();
        assert_eq!((later.unsteady, later.fenced_at), (false, vec![300, 400]));
    }

    #[test]
    fn a_node_whose_session_was_ended_wrongly_names_who_did_it_for_a_minute() {
        let mut brain = owning(&["n2"]);
        brain.step(secs(102), &wall());
        let by = Some(NodeName::new("n2"));
        let wrongly = true;
        let ended = Report::OwnEnded(OwnEnd::Fenced { by, wrongly });
        brain.take(Input::Peers(ended), secs(103));
        let effects = brain.step(secs(103), &wall());
        let wronged_by = effects.published.unwrap().wronged_by;
        assert_eq!(wronged_by, Some(NodeName::new("n2")));
        let [notice] = &effects.notices[..] else {
            panic!("{:?}", effects.notices)
        };
        assert!(
            notice.warning
                && notice
                    .note
                    .starts_with("node n2 ended the session of node n1 although")
        );
        let later = brain.step(secs(163), &wall());
        assert_eq!(later.published.unwrap().wronged_by, None);
    }

    #[test]
    fn the_addresses_of_a_node_stay_whose_lease_was_emptied_again_by_one_who_was_wrong() {
        let mut brain = owned_by_n2();
        brain.step(secs(101), &wall());
        let lease = |version: u64, session: Option<&str>| {
            let mut peer =
                crate::testing::peer("n2", version, vec![crate::testing::interface("eth0")]);
            peer.lease.session = session.map(SessionId::new);
            peer.fenced_by = session.is_none().then(|| NodeName::new("n3"));
            peer.wronged_by = Some(NodeName::new("n3"));
            Input::Applied(Object::Session(NodeName::new("n2"), peer))
        };
        brain.take(lease(20, Some("n2-s")), secs(102));
        let told = brain.step(secs(102), &wall()).to_peers;
        let wronged = |event: &peers::Event| matches!(event, peers::Event::Wronged { .. });
        assert!(told.iter().any(wronged), "{told:?}");
        brain.take(lease(21, None), secs(103));
        assert!(swaps(&brain.step(secs(103), &wall())).is_empty());
    }

    #[test]
    fn an_ethernet_address_is_a_peers_because_it_was_heard_and_not_because_a_lease_says_so() {
        let mut brain = owned_by_n2();
        let peers = |brain: &mut Brain| brain.step(secs(101), &wall()).peers;
        assert_eq!(peers(&mut brain), [mac(2)].into(), "without keys");
        brain.take(Input::HeardFrom(Some([mac(9)].into())), secs(101));
        assert_eq!(peers(&mut brain), [mac(9)].into());
        brain.take(Input::HeardFrom(Some([].into())), secs(101));
        assert_eq!(peers(&mut brain), [].into(), "nobody was heard yet");
        brain.take(Input::HeardFrom(None), secs(101));
        assert_eq!(peers(&mut brain), [mac(2)].into(), "the keys are gone");
    }

    #[test]
    fn the_thread_is_told_what_to_ask_a_node_for_and_where() {
        let mut brain = owned_by_n2();
        let told = brain.step(secs(101), &wall()).heartbeats.unwrap();
        assert_eq!(told.segments, [(2, mac(1))].into());
        let n2 = &told.nodes[&NodeName::new("n2")];
        assert_eq!((n2.macs[0], &n2.addresses), (mac(2), &vec![VIP]));
        assert_eq!(told.known.len(), 1);
        assert_eq!(brain.step(secs(101), &wall()).heartbeats, None, "once");
    }

    #[test]
    fn a_node_that_answers_for_nothing_is_asked_for_its_own_address() {
        let mut brain = brain(&["n2"]);
        let node = crate::model::Node {
            addresses: vec![ip("192.0.2.12"), ip("2001:db8::12")],
            ..crate::model::Node::default()
        };
        let node = Object::Node(NodeName::new("n2"), node);
        brain.take(Input::Applied(node), secs(100));
        brain.take(Input::Applied(session("n2", 2)), secs(100));
        let told = brain.step(secs(101), &wall()).heartbeats.unwrap();
        let n2 = &told.nodes[&NodeName::new("n2")];
        assert_eq!(n2.addresses, [ip("192.0.2.12"), ip("2001:db8::12")]);
    }
}
