//! What a Gateway lends the Service that was made for it: annotations, labels and its class.
//!
//! An implementation such as Envoy Gateway makes a LoadBalancer Service for each Gateway and says so in labels. People
//! write their wishes on the Gateway; the Service asks in its name. What the Service says itself comes first.
//!
//! Pure. The Gateway must exist, its labels and class are read from the object; the
//! Service's claim to be made for it is believed in the Gateway's own namespace, and in those that a cluster
//! administrator names, because implementations place it in a namespace of their own.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use landfall_crds::annotations::{
    GATEWAY_NAME, IPS_ALIASES, OWNING_GATEWAY_NAME, OWNING_GATEWAY_NAMESPACE, POOL_ALIASES,
    RENUMBER, SHARING_CROSS_NAMESPACE_ALIASES, SHARING_KEY_ALIASES,
    SHARING_PERMIT_DIFFERENT_PODS_ALIASES,
};

use landfall_crds::gateway_api::Gateway;
use landfall_gateway::NamespacedName;
use landfall_ipam::service::Labels;

/// What a Gateway has to lend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lender {
    pub class: String,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
}

impl From<&Gateway> for Lender {
    fn from(gateway: &Gateway) -> Self {
        Self {
            class: gateway.spec.gateway_class_name.clone(),
            labels: gateway.metadata.labels.clone().unwrap_or_default(),
            annotations: gateway.metadata.annotations.clone().unwrap_or_default(),
        }
    }
}

/// The Gateway a Service says it was made for.
#[must_use]
pub fn owning(service: &ObjectMeta) -> Option<NamespacedName> {
    let labels = service.labels.as_ref()?;
    let owning = |namespace: &String, name: &String| NamespacedName::new(namespace, name);
    match (
        labels.get(OWNING_GATEWAY_NAMESPACE),
        labels.get(OWNING_GATEWAY_NAME),
    ) {
        (Some(namespace), Some(name)) => Some(owning(namespace, name)),
        // The standard's own label is for Services beside their Gateway.
        _ => Some(owning(
            service.namespace.as_ref()?,
            labels.get(GATEWAY_NAME)?,
        )),
    }
}

/// Whether a Service is believed to be made for the Gateway: one of its own namespace, or one that
/// stands where a cluster administrator said that Gateways' Services are.
#[must_use]
pub fn believed(
    service: &ObjectMeta,
    gateway: &NamespacedName,
    trusted: &BTreeSet<String>,
) -> bool {
    let namespace = service.namespace.as_ref();
    namespace.is_some_and(|own| *own == gateway.namespace || trusted.contains(own))
}

impl Lender {
    /// The Service's annotations with those lent: where the Service says something itself, in whatever spelling, nothing
    /// of that meaning is.
    #[must_use]
    pub fn annotations(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let meanings: [&[&str]; 6] = [
            &IPS_ALIASES,
            &POOL_ALIASES,
            &SHARING_KEY_ALIASES,
            &SHARING_CROSS_NAMESPACE_ALIASES,
            &SHARING_PERMIT_DIFFERENT_PODS_ALIASES,
            &[RENUMBER],
        ];
        let mut all = own.clone();
        for names in meanings {
            if names.iter().any(|name| own.contains_key(*name)) {
                continue;
            }
            let lent = self.annotations.iter();
            let lent = lent.filter(|(name, _)| names.contains(&name.as_str()));
            all.extend(lent.map(|(name, text)| (name.clone(), text.clone())));
        }
        all
    }

    /// The Service's labels with those lent; its own come first.
    #[must_use]
    pub fn labels(&self, own: &Labels) -> Labels {
        let mut all = self.labels.clone();
        all.extend(own.clone());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn metadata(labels: &[(&str, &str)]) -> ObjectMeta {
        ObjectMeta {
            namespace: Some("envoy-gateway-system".into()),
            labels: Some(map(labels)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_service_names_its_gateway_by_the_labels_of_its_implementation() {
        let named = |labels: &[(&str, &str)]| owning(&metadata(labels)).map(|key| key.to_string());
        let envoy = [
            (OWNING_GATEWAY_NAMESPACE, "shop"),
            (OWNING_GATEWAY_NAME, "edge"),
        ];
        assert_eq!(named(&envoy).as_deref(), Some("shop/edge"));
        let beside = [(GATEWAY_NAME, "edge")];
        assert_eq!(named(&beside).as_deref(), Some("envoy-gateway-system/edge"));
        assert_eq!(named(&envoy[..1]), None);
        assert_eq!(named(&[("app", "web")]), None);
    }

    #[test]
    fn what_the_service_says_itself_is_not_lent_in_any_spelling() {
        let lender = Lender {
            class: "internet".into(),
            labels: map(&[("zone", "dmz"), ("app", "edge")]),
            annotations: map(&[
                ("landfall.dev/ips", "192.0.2.1"),
                ("landfall.dev/pool", "public"),
                ("example.org/owner", "team"),
            ]),
        };
        let own = map(&[("metallb.io/loadBalancerIPs", "192.0.2.2")]);
        assert_eq!(
            lender.annotations(&own),
            map(&[
                ("landfall.dev/pool", "public"),
                ("metallb.io/loadBalancerIPs", "192.0.2.2"),
            ])
        );
        assert_eq!(
            lender.labels(&map(&[("app", "web")])),
            map(&[("app", "web"), ("zone", "dmz")])
        );
    }
}
