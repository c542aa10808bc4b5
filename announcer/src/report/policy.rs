//! Status of policies.

use landfall_crds::conditions::{ACCEPTED, DIRECTOR_READY, NewCondition, find};
use landfall_crds::{L2AnnouncementPolicyStatus, LoadBalancing};

use super::{Report, View, says_the_same};
use crate::model::XdpState;
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
            let before = &policy.status.conditions;
            let mut verdicts = vec![verdict(outcome)];
            if policy.spec.load_balancing == LoadBalancing::Xdp {
                verdicts.push(director(view));
            }
            let conditions: Vec<_> = verdicts
                .into_iter()
                .map(|verdict| verdict.condition(before, policy.generation, view.now.clone()))
                .collect();
            let status = L2AnnouncementPolicyStatus {
                observed_generation: policy.generation,
                addresses: i32::try_from(outcome.addresses).unwrap_or(i32::MAX),
                nodes: i32::try_from(outcome.nodes).unwrap_or(i32::MAX),
                conditions,
            };
            let known = &policy.status;
            let same = known.observed_generation == status.observed_generation
                && known.addresses == status.addresses
                && known.nodes == status.nodes
                && known.conditions.len() == status.conditions.len()
                && status.conditions.iter().all(|condition| {
                    find(&known.conditions, &condition.type_)
                        .is_some_and(|known| says_the_same(known, condition))
                });
            (!same).then(|| Report::Policy(name.clone(), Box::new(status)))
        })
        .collect()
}

fn verdict(outcome: &PolicyOutcome) -> NewCondition {
    if outcome.defects.is_empty() {
        return NewCondition {
            type_: ACCEPTED,
            status: Some(true),
            reason: "Accepted".into(),
            message: "the policy is in force".into(),
        };
    }
    NewCondition {
        type_: ACCEPTED,
        status: Some(false),
        reason: "InvalidSpec".into(),
        message: format!(
            "{}; what else it says is in force",
            outcome.defects.join("; ")
        ),
    }
}

/// Nodes whose director cannot run forward by the kernel: that works, and people should know.
fn director(view: View<'_>) -> NewCondition {
    let failed: Vec<_> = view
        .world
        .peers
        .iter()
        .filter(|(node, peer)| peer.xdp == XdpState::Failed && view.live.contains(*node))
        .map(|(node, _)| node.as_str())
        .collect();
    if failed.is_empty() {
        return NewCondition {
            type_: DIRECTOR_READY,
            status: Some(true),
            reason: "Ready".into(),
            message: "no node reports that its XDP director cannot run".into(),
        };
    }
    NewCondition {
        type_: DIRECTOR_READY,
        status: Some(false),
        reason: "DirectorFailed".into(),
        message: format!(
            "the XDP director cannot run on {}: traffic takes the kernel's path there; their \
             announcers' logs and /debug/state say why",
            failed.join(", ")
        ),
    }
}
