//! Selecting Services, namespaces and nodes by label.
//!
//! An absent selector admits everybody. A selector that is there and matches nothing admits
//! nobody: that is the difference between "not asked" and "asked, and nobody answered".

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{ParseExpressionError, Selector, SelectorExt as _};

/// Pseudo-label that holds a Service's name in a `serviceSelector`.
pub const SERVICE_NAME: &str = "io.kubernetes.service.name";

/// Pseudo-label that holds a Service's namespace in a `serviceSelector`.
pub const SERVICE_NAMESPACE: &str = "io.kubernetes.service.namespace";

/// Labels of an object, as Kubernetes stores them.
pub type Labels = BTreeMap<String, String>;

/// Whether `selector` admits an object with `labels`.
///
/// # Errors
/// When an expression of the selector has an operator that Kubernetes does not know.
pub fn matches(
    selector: Option<&LabelSelector>,
    labels: &Labels,
) -> Result<bool, ParseExpressionError> {
    let Some(selector) = selector else {
        return Ok(true);
    };
    Ok(Selector::try_from(selector.clone())?.matches(labels))
}

/// The labels a `serviceSelector` sees: the Service's own, with the pseudo-labels laid over them,
/// so that a user's label of that name cannot stand for another Service.
#[must_use]
pub fn service_labels(namespace: &str, name: &str, labels: &Labels) -> Labels {
    let mut seen = labels.clone();
    seen.insert(SERVICE_NAME.to_owned(), name.to_owned());
    seen.insert(SERVICE_NAMESPACE.to_owned(), namespace.to_owned());
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_absent_selector_admits_everybody_and_an_unmatched_one_nobody() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        assert!(matches(None, &labels).unwrap());
        assert!(matches(Some(&LabelSelector::default()), &labels).unwrap());
        assert!(
            !matches(
                Some(&selector(json!({"matchLabels": {"app": "db"}}))),
                &labels
            )
            .unwrap()
        );
    }

    #[test]
    fn a_users_own_label_cannot_forge_the_pseudo_labels() {
        let forged = Labels::from([(SERVICE_NAMESPACE.to_owned(), "payments".to_owned())]);
        let seen = service_labels("guest", "web", &forged);
        let payments = selector(json!({"matchLabels": {SERVICE_NAMESPACE: "payments"}}));
        assert!(!matches(Some(&payments), &seen).unwrap());
    }

    #[test]
    fn an_unknown_operator_is_an_error_and_admits_nobody() {
        let odd = selector(
            json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["w"]}]}),
        );
        assert!(matches(Some(&odd), &Labels::new()).is_err());
    }
}
