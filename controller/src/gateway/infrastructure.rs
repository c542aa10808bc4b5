//! What `spec.infrastructure` of a Gateway puts onto all that is made for it: the records of its addresses.
//!
//! Pure. It is written by a field manager of its own, so that what is asked for no more goes by itself, and never over
//! what somebody else says.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use landfall_crds::GROUP;
use landfall_crds::gateway_api::Gateway;
use serde_json::{Value, json};

/// The field manager of these alone.
pub const MANAGER: &str = "landfall-infrastructure";

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Marks {
    /// What these Gateways ask for, the holders of one address; where several say something of one name, the first does.
    #[must_use]
    pub fn of<'a>(gateways: impl Iterator<Item = &'a Gateway>) -> Self {
        let mut marks = Self::default();
        for infrastructure in gateways.filter_map(|one| one.spec.infrastructure.as_ref()) {
            add(&mut marks.labels, &infrastructure.labels);
            add(&mut marks.annotations, &infrastructure.annotations);
        }
        marks
    }

    /// What a record has of it.
    #[must_use]
    pub fn on(record: &ObjectMeta) -> Self {
        Self {
            labels: owned(record, "/f:metadata/f:labels", record.labels.as_ref()),
            annotations: owned(
                record,
                "/f:metadata/f:annotations",
                record.annotations.as_ref(),
            ),
        }
    }

    /// What makes the record of this name and uid have it.
    #[must_use]
    pub fn patch(&self, name: &str, uid: &str) -> Value {
        json!({
            "apiVersion": "landfall.dev/v1alpha1",
            "kind": "LoadBalancerIP",
            "metadata": {"name": name, "uid": uid, "labels": self.labels, "annotations": self.annotations},
        })
    }
}

/// What is of our own group means something on a record, and is nobody else's to say.
fn add(to: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>) {
    let is_ours = |name: &str| {
        let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
        prefix == GROUP || prefix.ends_with(&format!(".{GROUP}"))
    };
    for (name, text) in from.iter().filter(|(name, _)| !is_ours(name)) {
        to.entry(name.clone()).or_insert_with(|| text.clone());
    }
}

fn owned(
    record: &ObjectMeta,
    path: &str,
    live: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let entries = record.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let fields = ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.pointer(path)?.as_object());
    let names = fields.flat_map(|fields| fields.keys().filter_map(|key| key.strip_prefix("f:")));
    names
        .filter_map(|name| Some((name.to_owned(), live?.get(name)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(infrastructure: Value) -> Gateway {
        serde_json::from_value(json!({"metadata": {}, "spec": {
            "gatewayClassName": "internet", "infrastructure": infrastructure}}))
        .unwrap()
    }

    #[test]
    fn the_first_of_several_gateways_is_heard_and_nothing_of_our_own_group_is() {
        let first = gateway(json!({"labels": {"team": "red", "landfall.dev/x": "y"},
            "annotations": {"landfall.dev/shown-to": "u", "a.landfall.dev/b": "c", "note": "n"}}));
        let second = gateway(json!({"labels": {"team": "blue", "zone": "dmz"}}));
        let marks = Marks::of([first, second].iter());
        let patch = marks.patch("192-0-2-1", "u");
        assert_eq!(
            patch["metadata"]["labels"],
            json!({"team": "red", "zone": "dmz"})
        );
        assert_eq!(patch["metadata"]["annotations"], json!({"note": "n"}));
    }

    #[test]
    fn what_others_put_onto_a_record_is_theirs() {
        let fields = json!({"f:metadata": {"f:labels": {"f:team": {}}}});
        let record: ObjectMeta = serde_json::from_value(json!({
            "labels": {"team": "red", "theirs": "x"},
            "managedFields": [{"manager": MANAGER, "operation": "Apply", "apiVersion": "landfall.dev/v1alpha1",
                "fieldsType": "FieldsV1", "fieldsV1": fields}],
        }))
        .unwrap();
        let wanted = gateway(json!({"labels": {"team": "red"}}));
        assert_eq!(Marks::on(&record), Marks::of([wanted].iter()));
    }
}
