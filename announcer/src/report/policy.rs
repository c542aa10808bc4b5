//! Status of policies.

use landfall_crds::L2AnnouncementPolicyStatus;
use landfall_crds::conditions::{ACCEPTED, Verdict, find};

use super::{Report, View, says_the_same};
use crate::policy::PolicyOutcome;

pub(super) fn reports(view: View<'_>) -> Vec<Report> {
    if !view.is_reporter() {
        return Vec::new();
    }
    view.plan
        .policies
        .iter()
        .filter_map(|(name, outcome)| {
            let policy = view.world.policies.get(name)?;
            let condition = verdict(outcome).condition(
                &policy.status.conditions,
                policy.generation,
                view.now.clone(),
            );
            let status = L2AnnouncementPolicyStatus {
                observed_generation: policy.generation,
                addresses: i32::try_from(outcome.addresses).unwrap_or(i32::MAX),
                nodes: i32::try_from(outcome.nodes).unwrap_or(i32::MAX),
                conditions: vec![condition],
            };
            let known = &policy.status;
            let same = known.observed_generation == status.observed_generation
                && known.addresses == status.addresses
                && known.nodes == status.nodes
                && find(&known.conditions, ACCEPTED)
                    .is_some_and(|known| says_the_same(known, &status.conditions[0]));
            (!same).then(|| Report::Policy(name.clone(), Box::new(status)))
        })
        .collect()
}

fn verdict(outcome: &PolicyOutcome) -> Verdict {
    if outcome.defects.is_empty() {
        return Verdict {
            type_: ACCEPTED,
            status: Some(true),
            reason: "Accepted".into(),
            message: "the policy is in force".into(),
        };
    }
    Verdict {
        type_: ACCEPTED,
        status: Some(false),
        reason: "InvalidSpec".into(),
        message: format!(
            "{}; what else it says is in force",
            outcome.defects.join("; ")
        ),
    }
}
