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
