//! What records say to the election, and its writes as requests, the whole status each of them leaves behind; and what
//! became of them.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use landfall_crds::LoadBalancerIPStatus;
use landfall_crds::conditions::{ADDRESS_CONFLICT, ANNOUNCED, find};

use super::Brain;
use super::effects::{Effects, Expiry, Job, Swap};
use super::input::SwapOutcome;
use crate::election::owners::{Event, Outcome, Owner, Record, Write};
use crate::election::{ClaimReason, Now};
use crate::model::{Key, Lbip, Object};
use crate::names::{NodeName, SessionId, Version};
use crate::policy::Announcement;
use crate::report::status_of;

/// The record as the election sees it.
pub(super) fn record(lbip: &Lbip) -> Record {
    let owner = lbip.status.owner.as_ref().map(|owner| Owner {
        node: NodeName::new(&owner.node),
        session: SessionId::new(&owner.session),
        standby: owner.standby.as_ref().map(NodeName::new),
        transitions: u64::try_from(owner.transitions).unwrap_or(0),
        handover_to: owner.handover_to.as_ref().map(NodeName::new),
    });
    Record {
        version: lbip.version.clone(),
        uid: lbip.uid.clone(),
        owner,
    }
}

impl Brain {
    pub(super) fn swapped(&mut self, address: IpAddr, outcome: SwapOutcome, now: Now) {
        self.denied.remove(&address);
        let claim = self.claims.remove(&address);
        let outcome = match outcome {
            SwapOutcome::Done(lbip) => {
                if let Some((reason, before)) = claim {
                    self.claimed(&lbip, reason, before);
                }
                self.say_end(address);
                self.apply(Object::Address(*lbip), now);
                Outcome::Done
            }
            SwapOutcome::Refused(Some(lbip)) => {
                // A read after the refusal.
                self.apply(Object::Address(*lbip), now);
                Outcome::Refused
            }
            SwapOutcome::Refused(None) => {
                self.remove(&Key::Address(address), now);
                Outcome::Refused
            }
            SwapOutcome::Failed => Outcome::Unknown,
            SwapOutcome::Denied => {
                self.denied.insert(address);
                Outcome::Unknown
            }
        };
        self.report_due = true;
        self.show_record(address);
        let settled = Event::Settled(address, outcome);
        self.owners.observe(settled, now);
    }

    /// This node now owns an address: tell people.
    fn claimed(&mut self, lbip: &Lbip, reason: ClaimReason, before: Option<NodeName>) {
        *self.transitions.entry(reason.as_str()).or_default() += 1;
        let from = match (reason, before) {
            (ClaimReason::Restarted, _) => return,
            (ClaimReason::OwnerDied, Some(node)) => {
                format!(" (took over from {node}, whose session ended)")
            }
            (ClaimReason::HandedOver, Some(node)) => format!(" (handed over by {node})"),
            _ => String::new(),
        };
        let on = lbip.status.interfaces.join(", ");
        let note = format!(
            "node {} answers for {} on {on}{from}",
            self.me, lbip.address
        );
        self.notify(lbip.address, false, "Announced", note);
    }

    pub(super) fn write(&mut self, write: Write, wall: &Time, now: Now, effects: &mut Effects) {
        match write {
            Write::Expire {
                node,
                version,
                renewal,
                ..
            } => {
                let expiry = Expiry {
                    node,
                    version,
                    renewal,
                };
                effects.jobs.push(Job::Expire(Box::new(expiry)));
            }
            Write::Inquire { node, session } => effects.jobs.push(Job::Inquire(node, session)),
            Write::Claim {
                address,
                version,
                owner,
                reason,
            } => {
                let before = self
                    .world
                    .lbips
                    .get(&address)
                    .and_then(|l| l.status.owner.clone());
                let before = before.map(|owner| NodeName::new(owner.node));
                self.claims.insert(address, (reason, before));
                let since = Some(wall.clone());
                self.swap(address, &version, Some((owner, since)), wall, now, effects);
            }
            Write::Amend {
                address,
                version,
                owner,
            } => {
                let known = self
                    .world
                    .lbips
                    .get(&address)
                    .and_then(|l| l.status.owner.as_ref());
                let since = known.and_then(|owner| owner.since.clone());
                self.swap(address, &version, Some((owner, since)), wall, now, effects);
            }
            Write::Release { address, version } => {
                self.swap(address, &version, None, wall, now, effects);
            }
        }
    }

    fn settled(&mut self, address: IpAddr, outcome: Outcome, now: Now) {
        self.owners.observe(Event::Settled(address, outcome), now);
    }

    fn swap(
        &mut self,
        address: IpAddr,
        version: &Version,
        owner: Option<(Owner, Option<Time>)>,
        wall: &Time,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(lbip) = self.world.lbips.get(&address) else {
            return self.settled(address, Outcome::Refused, now);
        };
        if lbip.version != *version {
            effects.wake_at = Some(now);
            return self.settled(address, Outcome::Refused, now);
        }
        let nothing = Announcement::default();
        let plan = self.plan.addresses.get(&address).unwrap_or(&nothing);
        let conflict = self.conflicts.get(&address).map(|(conflict, _)| conflict);
        let owner = owner.map(|(owner, since)| written(owner, since));
        let amends = owner.as_ref().map(|owner| &owner.session)
            == lbip.status.owner.as_ref().map(|owner| &owner.session);
        let status = match owner {
            // Whom it is given to, or who stands by, changes nothing of what is answered now.
            Some(owner) if amends => LoadBalancerIPStatus {
                owner: Some(owner),
                ..lbip.status.clone()
            },
            owner => status_of(lbip, owner, plan, &self.director.runs_on, conflict, wall),
        };
        let swap = Swap {
            address,
            name: lbip.name.clone(),
            version: version.clone(),
            status,
            report: false,
        };
        self.note_end(address, &swap.status);
        effects.jobs.push(Job::Swap(Box::new(swap)));
    }

    /// A status is about to be written after which the address is not announced: what is to be told of it then.
    pub(super) fn note_end(&mut self, address: IpAddr, status: &LoadBalancerIPStatus) {
        let known = self.world.lbips.get(&address);
        let before = known.and_then(|lbip| find(&lbip.status.conditions, ANNOUNCED));
        let after = find(&status.conditions, ANNOUNCED);
        let is_off = |condition: &&Condition| condition.status == "False";
        let same = |after: &Condition| before.is_some_and(|before| before.reason == after.reason);
        match after.filter(is_off) {
            // Of a foreign host's address its finder tells.
            Some(after) if after.reason != ADDRESS_CONFLICT && !same(after) => {
                self.ends.insert(address, after.message.clone());
            }
            _ => drop(self.ends.remove(&address)),
        }
    }

    /// It is written.
    pub(super) fn say_end(&mut self, address: IpAddr) {
        if let Some(note) = self.ends.remove(&address) {
            self.notify(address, true, "NotAnnounced", note);
        }
    }
}

fn written(owner: Owner, since: Option<Time>) -> landfall_crds::Owner {
    landfall_crds::Owner {
        node: owner.node.to_string(),
        session: owner.session.to_string(),
        since,
        standby: owner.standby.map(|node| node.to_string()),
        transitions: i64::try_from(owner.transitions).unwrap_or(i64::MAX),
        handover_to: owner.handover_to.map(|node| node.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use landfall_crds::L2AnnouncementPolicySpec;
    use landfall_runtime::class::Class;

    use super::super::effects::{Notice, ReportKey, Subject};
    use super::super::input::{Input, ProbeNews};
    use super::super::tests::{brain, owning, record as lbip, swaps, wall};
    use super::*;
    use crate::model::{Endpoint, Kind, Policy, Readiness, Service, Slice, World};
    use crate::names::PolicyName;
    use crate::testing::{VIP, key, policy, secs, service};

    /// Carries everything out that the brain wants, as the API server would, until it wants nothing more; what is told of
    /// the address meanwhile.
    fn settled(brain: &mut Brain, version: &mut u64, now: Now) -> Vec<Notice> {
        let mut told = Vec::new();
        for _ in 0..50 {
            let effects = brain.step(now, &wall());
            let quiet = effects.jobs.is_empty() && effects.probes.is_empty();
            told.extend(effects.notices);
            if quiet {
                return told;
            }
            for (address, _) in effects.probes {
                brain.take(Input::Probed(address, ProbeNews::Clear), now);
            }
            for job in effects.jobs {
                let answer = done(job, version, &brain.world);
                brain.take(answer, now);
            }
        }
        panic!("it never comes to rest");
    }

    /// The job is carried out, and the object read back.
    fn done(job: Job, version: &mut u64, world: &World) -> Input {
        match job {
            Job::Swap(swap) => {
                *version += 1;
                let written = lbip(*version, swap.status);
                if swap.report {
                    let object = Some(Object::Address(written));
                    Input::Reported(ReportKey::Address(swap.address), Ok(object))
                } else {
                    Input::Swapped(swap.address, SwapOutcome::Done(Box::new(written)))
                }
            }
            Job::Service(key, condition) => {
                let service = Service {
                    conditions: condition.into_iter().map(|condition| *condition).collect(),
                    ..world.services[&key].clone()
                };
                let object = Object::Service(key.clone(), service);
                Input::Reported(ReportKey::Service(key), Ok(Some(object)))
            }
            Job::Policy(name, status) => {
                let policy = Policy {
                    status: *status,
                    ..world.policies[&name].clone()
                };
                let object = Object::Policy(name.clone(), policy);
                Input::Reported(ReportKey::Policy(name), Ok(Some(object)))
            }
            Job::Node(..) => Input::Described(Ok(())),
            Job::Namesake(_) => Input::NamesakeSaid(Ok(())),
            Job::Expire(..) | Job::Inquire(..) => panic!("nobody is silent: {job:?}"),
        }
    }

    /// What is told of an address that is not announced, of all that is told.
    fn ends(told: &[Notice]) -> Vec<&str> {
        let ends = told.iter().filter(|notice| notice.reason == "NotAnnounced");
        let ends = ends.inspect(|notice| {
            assert!(notice.warning);
            let service = Subject::Service(key(), "u".into());
            assert!(notice.subjects.contains(&service), "its owner looks there");
        });
        ends.map(|notice| notice.note.as_str()).collect()
    }

    fn endpoints(readiness: Readiness) -> Input {
        let endpoint = Endpoint {
            address: VIP,
            node: Some(NodeName::new("n1")),
            readiness,
            pod: Default::default(),
        };
        let slice = Slice {
            ports: Vec::new(),
            endpoints: vec![endpoint],
        };
        Input::Applied(Object::Slice(key(), "web-1".into(), slice))
    }

    #[test]
    fn that_a_local_service_has_no_endpoint_is_told_once_and_again_when_it_comes_to_be_so_again() {
        let (mut brain, mut version) = (brain(&[]), 5);
        let local = Service {
            local: true,
            ..service()
        };
        brain.take(Input::Applied(Object::Service(key(), local)), secs(100));
        let without = "Service shop/web has externalTrafficPolicy: Local, and no node that may announce 192.0.2.10 runs \
                       an endpoint of it that serves";
        let told = settled(&mut brain, &mut version, secs(100));
        assert_eq!(ends(&told), [without]);
        for second in 101..105 {
            brain.report_due = true;
            let told = settled(&mut brain, &mut version, secs(second));
            assert_eq!(ends(&told), [""; 0], "none in between");
        }
        brain.take(endpoints(Readiness::Ready), secs(105));
        let told = settled(&mut brain, &mut version, secs(105));
        assert_eq!(ends(&told), [""; 0]);
        assert!(brain.records[&VIP].owner.is_some());
        brain.take(endpoints(Readiness::Unready), secs(106));
        let told = settled(&mut brain, &mut version, secs(106));
        assert_eq!(ends(&told), [without]);
    }

    #[test]
    fn an_address_that_policies_refuse_is_told_of_once_for_each_reason() {
        let (mut brain, mut version) = (brain(&[]), 5);
        let told = settled(&mut brain, &mut version, secs(100));
        assert_eq!(ends(&told), [""; 0]);
        assert!(brain.records[&VIP].owner.is_some());
        brain.take(Input::Listed(Kind::Policy, Default::default()), secs(101));
        let told = settled(&mut brain, &mut version, secs(101));
        let [note] = ends(&told)[..] else {
            panic!("{told:?}")
        };
        assert!(note.starts_with("no L2AnnouncementPolicy selects Service shop/web"));
        brain.report_due = true;
        let told = settled(&mut brain, &mut version, secs(102));
        assert_eq!(ends(&told), [""; 0], "none in between");
        let nowhere = L2AnnouncementPolicySpec {
            interfaces: vec!["ens3".to_owned()],
            ..L2AnnouncementPolicySpec::default()
        };
        let object = Object::Policy(PolicyName::new("all"), policy(nowhere));
        brain.take(Input::Applied(object), secs(103));
        let told = settled(&mut brain, &mut version, secs(103));
        let [note] = ends(&told)[..] else {
            panic!("{told:?}")
        };
        assert!(note.contains("with no interface that the policy's interfaces match"));
    }

    #[test]
    fn an_announcer_that_may_not_write_does_not_wait_to_leave() {
        let mut brain = owning(&["n2"]);
        brain.step(secs(101), &wall());
        brain.take(Input::Leave, secs(102));
        let effects = brain.step(secs(102), &wall());
        assert!(
            !swaps(&effects).is_empty() && !effects.in_vain,
            "{effects:?}"
        );
        brain.take(Input::Swapped(VIP, SwapOutcome::Denied), secs(102));
        for key in [
            ReportKey::Service(key()),
            ReportKey::Policy(PolicyName::new("all")),
            ReportKey::Address(VIP),
        ] {
            brain.take(Input::Reported(key, Err(Class::Forbidden)), secs(102));
        }
        let effects = brain.step(secs(102), &wall());
        assert!(effects.in_vain && !effects.has_left, "{effects:?}");
    }
}
