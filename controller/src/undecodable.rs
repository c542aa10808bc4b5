//! Objects that cannot be decoded: they stop nothing, and each is told of once, in an Event on it.
//!
//! What was known of such an object before stays as it was. Only the leader tells.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use landfall_runtime::events::Note;

/// Kind, namespace and name.
type Place = (String, String, String);

#[derive(Debug)]
struct Problem {
    regarding: ObjectReference,
    why: String,
    told: bool,
}

/// The objects that cannot be decoded now.
#[derive(Debug, Default)]
pub struct Undecodables {
    found: BTreeMap<Place, Problem>,
}

fn place(regarding: &ObjectReference) -> Place {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (
        text(&regarding.kind),
        text(&regarding.namespace),
        text(&regarding.name),
    )
}

impl Undecodables {
    /// An object was seen that cannot be decoded. The same version says nothing new.
    pub fn seen(&mut self, regarding: ObjectReference, why: String) {
        let place = place(&regarding);
        let same = self.found.get(&place).is_some_and(|known| {
            known.regarding.uid == regarding.uid
                && known.regarding.resource_version == regarding.resource_version
        });
        if same {
            return;
        }
        let (kind, _, name) = &place;
        tracing::warn!(
            kind,
            name,
            why,
            "an object that cannot be decoded is left as it was"
        );
        let told = false;
        self.found.insert(
            place,
            Problem {
                regarding,
                why,
                told,
            },
        );
    }

    /// The object can be decoded, or is gone.
    pub fn settled(&mut self, regarding: &ObjectReference) {
        if !self.found.is_empty() {
            self.found.remove(&place(regarding));
        }
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn news(&self) -> bool {
        self.found.values().any(|problem| !problem.told)
    }

    /// What is to be told, once.
    pub fn tell(&mut self) -> Vec<(ObjectReference, Note)> {
        let untold = self.found.values_mut().filter(|problem| !problem.told);
        untold
            .map(|problem| {
                problem.told = true;
                let why = &problem.why;
                let note = Note {
                    warning: true,
                    reason: "Undecodable".to_owned(),
                    action: "Read",
                    note: format!("cannot be decoded and is left as it was: {why}; correct it"),
                };
                (problem.regarding.clone(), note)
            })
            .collect()
    }
}
