//! What an installation or a removal came to, for programs. Pure.

use serde::Serialize;

use super::apply::{Done, Named};
use super::removal::Plan;
use crate::manifests::Manifest;

/// What became of one that is no part of this version.
const REMOVED: &str = "removed";

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Became {
    kind: String,
    name: String,
    outcome: &'static str,
}

/// An installation, or an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Installed {
    version: &'static str,
    /// Nothing was changed.
    dry_run: bool,
    objects: Vec<Became>,
    /// What carries Landfall's label and is not of it.
    left_alone: Vec<String>,
    /// Whether all of it ran within the time; nothing, where nobody waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runs: Option<bool>,
}

impl Installed {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            dry_run,
            ..Self::default()
        }
    }

    pub(super) fn applied(&mut self, manifest: &Manifest, done: Done) {
        self.objects.push(Became {
            kind: manifest.kind().to_owned(),
            name: manifest.name().to_owned(),
            outcome: done.in_words(),
        });
    }

    /// How many objects became that.
    pub(super) fn count(&self, outcome: &str) -> usize {
        let objects = self.objects.iter();
        objects.filter(|one| one.outcome == outcome).count()
    }

    /// What became of how many objects, in a line.
    pub(super) fn summary(&self) -> String {
        let [created, configured, unchanged, untried] = [
            Done::Created,
            Done::Configured,
            Done::Unchanged,
            Done::Untried,
        ]
        .map(Done::in_words);
        let outcomes = [created, configured, unchanged, REMOVED, untried];
        let counts = outcomes.map(|outcome| (self.count(outcome), outcome));
        let some = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = some
            .map(|(count, outcome)| format!("{count} {outcome}"))
            .collect();
        format!("{} objects: {}", self.objects.len(), words.join(", "))
    }

    /// One that is no part of this version.
    pub(super) fn removed(&mut self, named: &Named) {
        self.objects.push(Became {
            kind: named.kind.clone(),
            name: named.name.clone(),
            outcome: REMOVED,
        });
    }

    pub(super) fn left_alone(&mut self, words: String) {
        self.left_alone.push(words);
    }
}

/// A removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Removed {
    pub(super) plan: Plan,
    /// Whether it was carried out, or only planned.
    pub(super) carried_out: bool,
    /// Nodes on which programs and pins may be left.
    pub(super) unreached_nodes: Vec<String>,
    /// Objects that are still there, by kind and name.
    pub(super) left: Vec<String>,
}

impl Removed {
    /// It is only planned.
    pub(super) fn planned(plan: Plan) -> Self {
        Self {
            plan,
            carried_out: false,
            unreached_nodes: Vec::new(),
            left: Vec::new(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left.is_empty() && self.unreached_nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::{Choice, manifests};

    #[test]
    fn for_programs_an_installation_is_what_became_of_each_object_and_whether_it_runs() {
        let mut report = Installed::new(false);
        let all = manifests(&Choice::default()).unwrap();
        for (manifest, done) in all.iter().zip([Done::Created, Done::Configured]) {
            report.applied(manifest, done);
        }
        report.removed(&Named::from(&all[2]));
        report.left_alone("ConfigMap somebodys".to_owned());
        report.runs = Some(true);
        assert_eq!(
            report.summary(),
            "3 objects: 1 created, 1 configured, 1 removed"
        );
        report.version = "1.2.3";
        insta::assert_json_snapshot!(report);
    }

    #[test]
    fn for_programs_a_removal_is_its_plan_and_what_it_left() {
        let mut report = Removed::planned(Plan {
            policies: vec!["default".to_owned()],
            pools: 1,
            held: 2,
            nodes: vec!["node-1".to_owned()],
            ..Plan::default()
        });
        assert!(report.is_complete());
        report.carried_out = true;
        report.unreached_nodes.push("node-1".to_owned());
        assert!(!report.is_complete());
        insta::assert_json_snapshot!(report);
    }
}
