//! What a Pod sees of Services: names and addresses. Pure; the agent keeps it up to date from a watch.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::Service;

/// One Service with at least one ClusterIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    pub(crate) addresses: Vec<IpAddr>,
    /// Name (may be empty), port.
    pub(crate) ports: Vec<(String, i32)>,
}

/// All Services, by namespace and name. Headless ones have no address and do not appear.
pub(crate) type Services = BTreeMap<(String, String), ServiceFacts>;

/// Reads one Service; `None` when it has no ClusterIP.
pub(crate) fn facts(service: &Service) -> Option<((String, String), ServiceFacts)> {
    let spec = service.spec.as_ref()?;
    let texts = spec.cluster_ips.iter().flatten();
    let addresses: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
    if addresses.is_empty() {
        return None;
    }
    let ports = spec.ports.iter().flatten();
    let ports = ports
        .map(|p| (p.name.clone().unwrap_or_default(), p.port))
        .collect();
    let meta = &service.metadata;
    let key = (meta.namespace.clone()?, meta.name.clone()?);
    Some((key, ServiceFacts { addresses, ports }))
}

/// Environment variables of the Services of a namespace, and always those of `kubernetes` in `default`.
pub(crate) fn environment(
    services: &Services,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let master = ("default".to_owned(), "kubernetes".to_owned());
    let chosen = services
        .iter()
        .filter(|(key, _)| **key == master || (links && key.0 == namespace));
    for ((_, name), facts) in chosen {
        let prefix = name.to_uppercase().replace('-', "_");
        let Some(address) = facts.addresses.first() else {
            continue;
        };
        variables.insert(format!("{prefix}_SERVICE_HOST"), address.to_string());
        for (index, (port_name, port)) in facts.ports.iter().enumerate() {
            if index == 0 {
                variables.insert(format!("{prefix}_SERVICE_PORT"), port.to_string());
            }
            if !port_name.is_empty() {
                let suffix = port_name.to_uppercase().replace('-', "_");
                variables.insert(format!("{prefix}_SERVICE_PORT_{suffix}"), port.to_string());
            }
        }
    }
    variables
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Services {
        let texts = [
            "metadata: {name: kubernetes, namespace: default}
spec: {clusterIPs: [10.96.0.1], ports: [{name: https, port: 443}]}",
            "metadata: {name: web-app, namespace: shop}
spec: {clusterIPs: [10.96.3.4, 'fd00:10:96::5'], ports: [{port: 80}]}",
            "metadata: {name: quiet, namespace: shop}
spec: {clusterIPs: [None], ports: [{port: 80}]}",
        ];
        texts
            .iter()
            .filter_map(|text| facts(&serde_saphyr::from_str(text).unwrap()))
            .collect()
    }

    #[test]
    fn a_pod_sees_its_own_namespace_and_the_api_server() {
        let seen = environment(&sample(), "shop", true);
        let pairs: Vec<_> = seen.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            pairs,
            [
                "KUBERNETES_SERVICE_HOST=10.96.0.1",
                "KUBERNETES_SERVICE_PORT=443",
                "KUBERNETES_SERVICE_PORT_HTTPS=443",
                "WEB_APP_SERVICE_HOST=10.96.3.4",
                "WEB_APP_SERVICE_PORT=80",
            ]
        );
    }

    #[test]
    fn without_service_links_only_the_api_server_is_seen() {
        let seen = environment(&sample(), "shop", false);
        assert!(
            seen.keys().all(|key| key.starts_with("KUBERNETES_")),
            "{seen:?}"
        );
    }
}
