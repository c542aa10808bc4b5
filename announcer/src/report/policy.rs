//! Status of policies.

use std::fmt::{Display, Write as _};

use landfall_crds::conditions::{ACCEPTED, DIRECTOR_READY, NewCondition, find};
use landfall_crds::text::quoted;
use landfall_crds::{L2AnnouncementPolicyStatus, LoadBalancing};

use super::{Report, View, says_the_same};
use crate::model::XdpState;
use crate::policy::PolicyOutcome;

/// How many patterns, interfaces or policies are named in one sentence.
const SHOWN_AT_ONCE: usize = 6;

/// Where it shows who forwards.
const SHOWN: &str = "the condition Announced of each LoadBalancerIP says by which path";

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
    let mut words = outcome.defects.clone();
    words.push(
        match words.is_empty() {
            true => "the policy is in force",
            false => "what else it says is in force",
        }
        .to_owned(),
    );
    words.extend(remarks(outcome));
    let is_sound = outcome.defects.is_empty();
    NewCondition {
        type_: ACCEPTED,
        status: Some(is_sound),
        reason: if is_sound { "Accepted" } else { "InvalidSpec" }.into(),
        message: words.join("; "),
    }
}

/// What of it is in vain, and what another one overrules. It changes seldom, with nodes, policies and their first address: every
/// change is a write.
fn remarks(outcome: &PolicyOutcome) -> Vec<String> {
    let mut words = Vec::new();
    if outcome.selects_no_node {
        words.push("its nodeSelector matches no node".to_owned());
    }
    if !outcome.idle.is_empty() {
        let patterns = outcome.idle.iter().map(|idle| quoted(&idle.pattern));
        let mut sentence = format!(
            "no interface of its nodes that is up is matched by {}",
            some(patterns)
        );
        if !outcome.interfaces.is_empty() {
            let there = some(outcome.interfaces.iter());
            let _ = write!(sentence, ": there are {there}");
        }
        if let Some((pattern, meant)) = outcome
            .idle
            .iter()
            .find_map(|idle| Some((&idle.pattern, idle.meant.as_ref()?)))
        {
            let (pattern, meant) = (quoted(pattern), quoted(meant));
            let _ = write!(
                sentence,
                " ({pattern} is a regular expression and no wildcard: write {meant})"
            );
        }
        words.push(sentence);
    }
    if !outcome.overruled_by.is_empty() {
        words.push(format!(
            "XDP forwards, and not the kernel, what policy {} selects too; {SHOWN}",
            some(outcome.overruled_by.iter())
        ));
    }
    if !outcome.overrules.is_empty() {
        words.push(format!(
            "XDP forwards also what policy {} selects too, which says Kernel; {SHOWN}",
            some(outcome.overrules.iter())
        ));
    }
    words
}

/// The first few, and how many more there are: a condition is read by people.
fn some<T: Display>(all: impl ExactSizeIterator<Item = T>) -> String {
    let more = all.len().saturating_sub(SHOWN_AT_ONCE);
    let mut words: Vec<String> = all.take(SHOWN_AT_ONCE).map(|one| one.to_string()).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
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
