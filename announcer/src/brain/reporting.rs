//! Which reports are due, under way, or to be tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_runtime::class::Class;

use super::Brain;
use super::effects::{Effects, Job, ReportKey, Swap};
use crate::election::Now;
use crate::model::{Object, World};
use crate::report::{Report, View, reports};

/// Finding out what to report is half of what deciding costs, and waits longest: of 1,000 addresses it is found out every
/// 50 ms at the most, of 10,000 twice a second. Of few it is at once.
fn pause(addresses: usize) -> Duration {
    Duration::from_millis(10) * u32::try_from(addresses / 200).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reporting {
    pub(super) in_flight: bool,
    attempts: u32,
    retry_at: Option<Now>,
    /// In a way that only a person can change.
    pub(super) refused: bool,
}

impl Brain {
    pub(super) fn reported(
        &mut self,
        key: ReportKey,
        outcome: Result<Option<Object>, Class>,
        now: Now,
    ) {
        match outcome {
            Ok(object) => {
                self.reporting.remove(&key);
                if let ReportKey::Address(address) = key {
                    self.say_end(address);
                }
                if let Some(object) = object {
                    self.apply(object, now);
                }
            }
            Err(class) => {
                let reporting = self.reporting.entry(key).or_default();
                reporting.in_flight = false;
                reporting.attempts += 1;
                reporting.refused = matches!(class, Class::Forbidden | Class::Refused);
                // A fixed spread: one node reports, there is no herd to scatter.
                let pause = class.retry_after(reporting.attempts, 0.5);
                reporting.retry_at = Some(now + pause);
            }
        }
        self.report_due = true;
    }

    /// Nothing is left to be reported of what is known, but what was refused.
    pub(super) fn has_reported(&self) -> bool {
        let is_found_out = !self.report_due || self.owners.session().is_none();
        is_found_out && self.reporting.values().all(|reporting| reporting.refused)
    }

    pub(super) fn report(&mut self, now: Now, wall: &Time, effects: &mut Effects) {
        let live = self.owners.live_nodes(now);
        self.report_due |= live != self.live;
        self.live = live;
        if self.reports_wait && !self.owners.is_ceding_any(now) {
            self.reports_wait = false;
            self.report_due = true;
        }
        let retry = |r: &Reporting| r.retry_at.filter(|_| !r.in_flight);
        self.report_due |= self
            .reporting
            .values()
            .filter_map(retry)
            .any(|at| at <= now);
        if !self.report_due || self.owners.session().is_none() {
            return;
        }
        if now < self.report_at {
            effects.wake_no_later(self.report_at);
            return;
        }
        self.report_at = now + pause(self.records.len());
        self.report_due = false;
        let conflicts = self
            .conflicts
            .iter()
            .map(|(a, (c, _))| (*a, c.clone()))
            .collect();
        let reports = reports(View {
            world: &self.world,
            plan: &self.plan,
            runs_on: &self.director.runs_on,
            me: &self.me,
            session: self.owners.session(),
            live: &self.live,
            conflicts: &conflicts,
            refused: &self.director.refused,
            now: wall,
        });
        let mut due = BTreeSet::new();
        for report in reports {
            let key = key_of(&report);
            due.insert(key.clone());
            // What the election is writing right now, or has another node write, is left alone: one of the two would be
            // refused, and the owner's write says it all.
            if let ReportKey::Address(address) = &key {
                let is_ceded = self.owners.is_ceding(address, now);
                self.reports_wait |= is_ceded;
                if is_ceded || self.owners.is_writing(address) {
                    continue;
                }
            }
            let reporting = self.reporting.entry(key).or_default();
            if reporting.in_flight {
                continue;
            }
            if let Some(at) = reporting.retry_at.filter(|at| *at > now) {
                effects.wake_no_later(at);
                continue;
            }
            reporting.in_flight = true;
            reporting.retry_at = None;
            reporting.refused = false;
            if let Report::Address(address, status) = &report {
                self.note_end(*address, status);
            }
            effects.jobs.extend(job(report, &self.world));
        }
        self.reporting
            .retain(|key, reporting| reporting.in_flight || due.contains(key));
    }
}

fn key_of(report: &Report) -> ReportKey {
    match report {
        Report::Address(address, _) => ReportKey::Address(*address),
        Report::Service(key, _) => ReportKey::Service(key.clone()),
        Report::Policy(name, _) => ReportKey::Policy(name.clone()),
    }
}

fn job(report: Report, world: &World) -> Option<Job> {
    Some(match report {
        Report::Address(address, status) => {
            let lbip = world.lbips.get(&address)?;
            Job::Swap(Box::new(Swap {
                address,
                name: lbip.name.clone(),
                version: lbip.version.clone(),
                status: *status,
                report: true,
            }))
        }
        Report::Service(key, condition) => Job::Service(key, condition),
        Report::Policy(name, status) => Job::Policy(name, status),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use landfall_crds::{LoadBalancerIPStatus, Owner};

    use super::super::tests::{owning, wall};
    use super::super::{Brain, Input};
    use super::*;
    use crate::names::PolicyName;
    use crate::testing::{lbip, secs};

    /// n1's brain with so many addresses more, which n2 owns.
    fn with_more(addresses: u32) -> Brain {
        let mut brain = owning(&["n2"]);
        let owner = Owner {
            node: "n2".into(),
            session: "n2-s".into(),
            standby: Some("n1".into()),
            transitions: 1,
            ..Owner::default()
        };
        for host in 1..=addresses {
            let address = IpAddr::V4(Ipv4Addr::from(0xc633_6400 + host));
            let status = LoadBalancerIPStatus {
                owner: Some(owner.clone()),
                ..LoadBalancerIPStatus::default()
            };
            let object = Object::Address(lbip(address, 1, status));
            brain.take(Input::Applied(object), secs(101));
        }
        brain
    }

    fn is_policy(job: &Job) -> bool {
        matches!(job, Job::Policy(..))
    }

    #[test]
    fn of_many_addresses_it_is_found_out_now_and_then_what_to_report_and_nothing_is_forgotten() {
        for (addresses, wait) in [(10, Now::ZERO), (400, Duration::from_millis(20))] {
            let mut brain = with_more(addresses);
            let effects = brain.step(secs(101), &wall());
            assert!(effects.jobs.iter().any(is_policy), "{effects:?}");
            // Written, and not read back yet: it is to be written again.
            let key = ReportKey::Policy(PolicyName::new("all"));
            brain.take(Input::Reported(key, Ok(None)), secs(101));
            let effects = brain.step(secs(101), &wall());
            assert_eq!(effects.jobs.iter().any(is_policy), wait.is_zero());
            assert!(!brain.has_reported(), "whoever leaves waits for it");
            let at = secs(101) + wait;
            assert!(effects.wake_at.is_some_and(|wake| wake <= at) || wait.is_zero());
            let effects = brain.step(at, &wall());
            assert_eq!(effects.jobs.iter().any(is_policy), !wait.is_zero());
        }
    }
}
