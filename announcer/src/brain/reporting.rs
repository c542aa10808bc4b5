//! Which reports are due, under way, or to be tried again.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_runtime::class::Class;

use super::Brain;
use super::effects::{Effects, Job, ReportKey, Swap};
use crate::election::Now;
use crate::model::{Object, World};
use crate::report::{Report, View, reports};

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
        self.report_due = false;
        let conflicts = self
            .conflicts
            .iter()
            .map(|(a, (c, _))| (*a, c.clone()))
            .collect();
        let reports = reports(View {
            world: &self.world,
            plan: &self.plan,
            me: &self.me,
            session: self.owners.session(),
            live: &self.live,
            conflicts: &conflicts,
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
                effects.wake_at = Some(effects.wake_at.map_or(at, |wake| wake.min(at)));
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
