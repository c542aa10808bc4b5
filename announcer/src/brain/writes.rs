//! Turning the election's writes into requests: the whole status each of them leaves behind.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_crds::LoadBalancerIPStatus;

use super::effects::{Effects, Job, Swap};
use super::{Brain, record};
use crate::election::{ClaimReason, Event, Now, Owner, Write};
use crate::names::{NodeName, Version};
use crate::report::status_of;

impl Brain {
    pub(super) fn write(&mut self, write: Write, wall: &Time, now: Now, effects: &mut Effects) {
        match write {
            Write::Expire { node, version } => effects.jobs.push(Job::Expire(node, version)),
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
                let kept = before.as_ref().filter(|_| reason == ClaimReason::Kept);
                let since = kept.map_or_else(|| Some(wall.clone()), |owner| owner.since.clone());
                let before = before.map(|owner| NodeName::new(owner.node));
                self.claims.insert(address, (reason, before));
                self.swap(address, &version, Some((owner, since)), wall, now, effects);
            }
            Write::HandOver {
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
            return self.election.observe(Event::Refused(address, None), now);
        };
        if lbip.version != *version {
            let record = record(lbip);
            effects.wake_at = Some(now);
            return self
                .election
                .observe(Event::Refused(address, Some(record)), now);
        }
        let empty = BTreeSet::new();
        let interfaces = self
            .plan
            .addresses
            .get(&address)
            .map_or(&empty, |p| &p.interfaces);
        let conflict = self.conflicts.get(&address).map(|(conflict, _)| conflict);
        let owner = owner.map(|(owner, since)| written(owner, since));
        let status = match owner {
            // What is being given away reads as before until its next owner writes.
            Some(owner) if owner.handover_to.is_some() => LoadBalancerIPStatus {
                owner: Some(owner),
                ..lbip.status.clone()
            },
            owner => status_of(lbip, owner, interfaces, conflict, wall),
        };
        effects.jobs.push(Job::Swap(Box::new(Swap {
            address,
            name: lbip.name.clone(),
            version: version.clone(),
            status,
            report: false,
        })));
    }
}

fn written(owner: Owner, since: Option<Time>) -> landfall_crds::Owner {
    landfall_crds::Owner {
        node: owner.node.to_string(),
        session: owner.session.to_string(),
        since,
        transitions: i64::try_from(owner.transitions).unwrap_or(i64::MAX),
        handover_to: owner.handover_to.map(|node| node.to_string()),
    }
}
