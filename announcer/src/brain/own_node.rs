//! The object of this node: written when what it says is not so any more, and not more often than every few seconds.
//! Nothing is decided by it; what others must know of a session at once, its Lease says.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use landfall_crds::L2NodeStatus;
use landfall_crds::conditions::{NODE_NAME_CONFLICT, NewCondition};
use landfall_runtime::class::Class;

use super::Brain;
use super::effects::{Effects, Job};
use crate::election::Now;
use crate::names::SessionId;
use crate::report::{OwnNode, node_status};

/// Between two writes: addresses that come and go by the thousand are one change.
const PAUSE: Duration = Duration::from_secs(5);

/// Before it is tried again where the kind is not defined: a person has to do something first.
const UNDEFINED: Duration = Duration::from_secs(60);

/// Whoever waits for another machine of its name says so again after this. Where it stands, nothing is written.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Whoever has the object takes back so often what one may have said that waits no more. It may not read it; where
/// nothing is said, nothing is written.
const TAKEN_BACK: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Described {
    since: Option<(SessionId, Time)>,
    /// What the object says, as far as this process knows: it has written it.
    written: Option<L2NodeStatus>,
    under_way: Option<L2NodeStatus>,
    attempts: u32,
    next_at: Now,
    /// The session of another machine of this node's name, which has its Lease: the object is that one's.
    pub(super) namesake: Option<SessionId>,
    /// What was said of that on it, and is being said.
    namesake_said: Option<Condition>,
    namesake_under_way: Option<Option<Condition>>,
    namesake_attempts: u32,
    /// When to say it again though nothing has changed, and before when not to say anything.
    namesake_again_at: Now,
    namesake_next_at: Now,
}

impl Brain {
    pub(super) fn describe(&mut self, now: Now, wall: &Time, effects: &mut Effects) {
        self.say_of_namesake(now, wall, effects);
        // The last word waits for no pause, and is said once.
        let is_last = self.leaving && self.described.attempts == 0;
        let is_due =
            self.described.under_way.is_none() && (now >= self.described.next_at || is_last);
        let is_silent = self.described.namesake.is_some()
            || self.owners.session().is_none() && self.described.written.is_none();
        if !is_due || is_silent {
            return;
        }
        let status = self.own_status(wall);
        if self.described.written.as_ref() == Some(&status) {
            return;
        }
        let node = self.world.nodes.get(&self.me);
        let uid = node.map(|node| node.uid.clone());
        self.described.under_way = Some(status.clone());
        effects.jobs.push(Job::Node(Box::new(status), uid));
    }

    fn own_status(&mut self, wall: &Time) -> L2NodeStatus {
        let session = self.owners.session().filter(|_| !self.leaving);
        let known = self.described.since.as_ref().map(|(session, _)| session);
        if session != known {
            self.described.since = session.map(|session| (session.clone(), wall.clone()));
        }
        let since = self.described.since.as_ref();
        node_status(&OwnNode {
            session: since.map(|(session, since)| (session, since.clone())),
            interfaces: &self.plan.publish,
            xdp: self.director.state,
            runs_on: &self.director.runs_on,
            addresses: self.answering.len(),
            hears: (!self.to_peers.keys.is_empty()).then(|| self.owners.heard().collect()),
        })
    }

    /// Says on the object that another machine has it, for as long as this one waits for that one's end. Of what is this
    /// one's it takes back what another may have left that waited.
    fn say_of_namesake(&mut self, now: Now, wall: &Time, effects: &mut Effects) {
        let described = &mut self.described;
        let is_news = described.namesake.is_some() != described.namesake_said.is_some();
        let may_be_gone = described.namesake.is_some() || described.written.is_some();
        let is_due = is_news || may_be_gone && now >= described.namesake_again_at;
        if !is_due || described.namesake_under_way.is_some() || now < described.namesake_next_at {
            return;
        }
        let says = described.namesake.as_ref().map(|session| NewCondition {
            type_: NODE_NAME_CONFLICT,
            status: Some(true),
            reason: "TwoMachines".to_owned(),
            message: format!(
                "two machines run an announcer by the name of node {}: the one with session {session} has it, and the other \
                 answers for nothing. Give one of them another node name, or switch off the one that is not to be it",
                self.me
            ),
        });
        let before = described.namesake_said.as_slice();
        let condition = says.map(|says| says.condition(before, None, wall.clone()));
        effects
            .jobs
            .push(Job::Namesake(condition.clone().map(Box::new)));
        described.namesake_under_way = Some(condition);
    }

    /// What came of that.
    pub(super) fn namesake_said(&mut self, outcome: Result<(), Class>, now: Now) {
        let said = self.described.namesake_under_way.take();
        let described = &mut self.described;
        match (outcome, said) {
            (Ok(()), Some(said)) => {
                let pause = match said {
                    Some(_) => SAID_AGAIN,
                    None => TAKEN_BACK,
                };
                described.namesake_again_at = now + pause;
                (described.namesake_said, described.namesake_attempts) = (said, 0);
            }
            (Ok(()), None) => {}
            (Err(Class::NotFound), Some(None)) => {
                // The object is gone, and what was said on it; it is to be made anew.
                described.namesake_again_at = now + TAKEN_BACK;
                (described.namesake_said, described.namesake_attempts) = (None, 0);
                described.written = None;
            }
            (Err(class), _) => {
                described.namesake_attempts += 1;
                let pause = class.retry_after(described.namesake_attempts, 0.5);
                described.namesake_next_at = now + pause.max(PAUSE);
            }
        }
    }

    /// What came of it.
    pub(super) fn described(&mut self, outcome: Result<(), Class>, now: Now) {
        let status = self.described.under_way.take();
        self.described.next_at = now
            + match outcome {
                Ok(()) => {
                    self.described.written = status;
                    self.described.attempts = 0;
                    PAUSE
                }
                Err(class) => {
                    self.described.attempts += 1;
                    let least = match class {
                        Class::NotFound => UNDEFINED,
                        _ => PAUSE,
                    };
                    class.retry_after(self.described.attempts, 0.5).max(least)
                }
            };
    }
}

#[cfg(test)]
mod tests {
    use landfall_crds::NodeXdp;

    use super::super::tests::{brain, wall};
    use super::super::{Input, Job};
    use super::*;
    use crate::dataplane::DirectorNews;
    use crate::model::XdpState;
    use crate::testing::secs;

    /// What is to be written of the node, if anything.
    fn wanted(brain: &mut Brain, now: Now) -> Option<L2NodeStatus> {
        let jobs = brain.step(now, &wall()).jobs;
        let mut wanted = jobs.into_iter().filter_map(|job| match job {
            Job::Node(status, _) => Some(*status),
            _ => None,
        });
        wanted.next()
    }

    #[test]
    fn a_nodes_object_is_written_when_it_changes_and_never_at_rest() {
        let mut brain = brain(&["n2"]);
        let first = wanted(&mut brain, secs(100)).unwrap();
        assert_eq!(first.session.as_deref(), Some("n1-s"));
        assert_eq!((first.addresses, first.interfaces.len()), (0, 1));
        assert_eq!(wanted(&mut brain, secs(101)), None, "it is under way");
        brain.take(Input::Described(Ok(())), secs(101));
        for second in 102..160 {
            assert_eq!(wanted(&mut brain, secs(second)), None);
        }
        brain.take(
            Input::Session(crate::election::owners::Event::SessionLost),
            secs(160),
        );
        assert_eq!(wanted(&mut brain, secs(160)).unwrap().session, None);
    }

    #[test]
    fn changes_in_quick_succession_are_one_write() {
        let mut brain = brain(&["n2"]);
        wanted(&mut brain, secs(100)).unwrap();
        brain.take(Input::Described(Ok(())), secs(101));
        for state in [XdpState::Failed, XdpState::Ready] {
            brain.take(Input::Director(DirectorNews::of(state)), secs(102));
            assert_eq!(wanted(&mut brain, secs(103)), None, "not so soon again");
        }
        assert_eq!(wanted(&mut brain, secs(106)).unwrap().xdp, NodeXdp::Ready);
    }

    #[test]
    fn what_another_machine_of_the_same_name_says_of_itself_is_not_written_over() {
        let mut brain = brain(&["n2"]);
        let first = wanted(&mut brain, secs(100));
        brain.take(Input::Described(Ok(())), secs(100));
        let lost = crate::election::owners::Event::SessionLost;
        brain.take(Input::Session(lost), secs(110));
        let other = SessionId::new("n1-of-another");
        brain.take(Input::Namesake(Some(other.clone())), secs(110));
        let said = |brain: &mut Brain, now| {
            let jobs = brain.step(now, &wall()).jobs;
            assert!(!jobs.iter().any(|job| matches!(job, Job::Node(..))));
            jobs.into_iter().find_map(|job| match job {
                Job::Namesake(condition) => Some(condition),
                _ => None,
            })
        };
        let condition = said(&mut brain, secs(110)).flatten().unwrap();
        assert_eq!(
            (&*condition.type_, &*condition.status),
            ("NodeNameConflict", "True")
        );
        assert!(
            condition.message.contains("node n1") && condition.message.contains(other.as_str())
        );
        assert_eq!(said(&mut brain, secs(111)), None, "it is under way");
        brain.take(Input::NamesakeSaid(Err(Class::Transient)), secs(112));
        assert!(said(&mut brain, secs(300)).is_some(), "it is tried again");
        brain.take(Input::NamesakeSaid(Ok(())), secs(301));
        assert_eq!(brain.summary(secs(301)).namesake, Some(other));
        brain.take(Input::Namesake(None), secs(400));
        let jobs = brain.step(secs(400), &wall()).jobs;
        assert!(jobs.contains(&Job::Namesake(None)), "it is taken away");
        let own = |job: &Job| matches!(job, Job::Node(status, _) if status.session.is_none());
        assert!(first.is_some() && jobs.iter().any(own));
    }

    /// What is to be said of another machine of the name, if anything.
    fn said(brain: &mut Brain, now: Now, wall: &Time) -> Option<Option<Condition>> {
        let jobs = brain.step(now, wall).jobs;
        let said = jobs.into_iter().find_map(|job| match job {
            Job::Namesake(condition) => Some(condition.map(|condition| *condition)),
            _ => None,
        });
        if said.is_some() {
            brain.take(Input::NamesakeSaid(Ok(())), now);
        }
        said
    }

    #[test]
    fn what_one_said_that_waited_and_was_switched_off_is_taken_back_by_whom_the_object_is() {
        let mut brain = brain(&["n2"]);
        wanted(&mut brain, secs(100)).unwrap();
        brain.take(Input::Described(Ok(())), secs(100));
        let taken_back: Vec<u64> = (101..2_000)
            .filter(|second| said(&mut brain, secs(*second), &wall()) == Some(None))
            .collect();
        assert_eq!(taken_back, [101, 701, 1301, 1901]);
    }

    #[test]
    fn whoever_waits_says_so_again_soon_after_it_may_have_been_taken_back() {
        let mut brain = brain(&["n2"]);
        brain.take(
            Input::Session(crate::election::owners::Event::SessionLost),
            secs(100),
        );
        brain.take(
            Input::Namesake(Some(SessionId::new("n1-of-another"))),
            secs(100),
        );
        let first = said(&mut brain, secs(100), &wall());
        let later = Time(wall().0 + k8s_openapi::jiff::SignedDuration::from_secs(10));
        assert_eq!(said(&mut brain, secs(109), &later), None);
        assert_eq!(
            said(&mut brain, secs(110), &later),
            first,
            "since the same moment: where it stands, nothing is written"
        );
        brain.take(Input::Namesake(Some(SessionId::new("n1-anew"))), secs(111));
        let again = said(&mut brain, secs(120), &later).flatten().unwrap();
        assert!(again.message.contains("n1-anew"), "{}", again.message);
    }

    #[test]
    fn the_last_word_that_is_refused_is_not_said_in_a_loop() {
        let mut brain = brain(&["n2"]);
        wanted(&mut brain, secs(100)).unwrap();
        brain.take(Input::Described(Ok(())), secs(100));
        brain.leaving = true;
        assert_eq!(wanted(&mut brain, secs(101)).unwrap().session, None);
        for _ in 0..5 {
            brain.take(Input::Described(Err(Class::Forbidden)), secs(101));
            assert_eq!(wanted(&mut brain, secs(101)), None);
        }
    }

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let mut brain = brain(&["n2"]);
        let first = wanted(&mut brain, secs(100)).unwrap();
        brain.take(Input::Described(Err(Class::Transient)), secs(101));
        assert_eq!(wanted(&mut brain, secs(102)), None);
        assert_eq!(wanted(&mut brain, secs(200)), Some(first));
    }
}
