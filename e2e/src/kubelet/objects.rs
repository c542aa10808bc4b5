//! ConfigMaps and Secrets a Pod names: which they are, and what they hold. Fetching is the only I/O.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client};

use super::pod;

/// Kind of a keyed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// What an object holds.
pub(crate) type Keys = BTreeMap<String, Vec<u8>>;

/// The objects of one Pod; one that does not exist is absent.
pub(crate) type Objects = BTreeMap<(Kind, String), Keys>;

/// Every object the Pod names, in a volume or in an environment.
pub(crate) fn named(pod: &Pod) -> BTreeSet<(Kind, String)> {
    let spec = pod::spec(pod);
    let mut found = BTreeSet::new();
    let mut add = |kind, name: &str| found.insert((kind, name.to_owned()));
    for volume in spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            add(Kind::ConfigMap, &source.name);
        }
        if let Some(name) = volume
            .secret
            .as_ref()
            .and_then(|s| s.secret_name.as_deref())
        {
            add(Kind::Secret, name);
        }
        let projected = volume.projected.as_ref().and_then(|p| p.sources.as_ref());
        for source in projected.into_iter().flatten() {
            if let Some(source) = &source.config_map {
                add(Kind::ConfigMap, &source.name);
            }
            if let Some(source) = &source.secret {
                add(Kind::Secret, &source.name);
            }
        }
    }
    for container in pod::containers(&spec) {
        for from in container.env_from.iter().flatten() {
            if let Some(source) = &from.config_map_ref {
                add(Kind::ConfigMap, &source.name);
            }
            if let Some(source) = &from.secret_ref {
                add(Kind::Secret, &source.name);
            }
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|e| e.value_from.as_ref())
        {
            if let Some(key) = &source.config_map_key_ref {
                add(Kind::ConfigMap, &key.name);
            }
            if let Some(key) = &source.secret_key_ref {
                add(Kind::Secret, &key.name);
            }
        }
    }
    found
}

/// Fetches them, as of now.
pub(crate) async fn fetch(
    client: &Client,
    namespace: &str,
    names: &BTreeSet<(Kind, String)>,
) -> kube::Result<Objects> {
    let mut objects = Objects::new();
    for (kind, name) in names {
        let keys = match kind {
            Kind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                api.get_opt(name).await?.map(config_map_keys)
            }
            Kind::Secret => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                api.get_opt(name).await?.map(|secret| {
                    let data = secret.data.unwrap_or_default();
                    data.into_iter()
                        .map(|(key, value)| (key, value.0))
                        .collect()
                })
            }
        };
        if let Some(keys) = keys {
            objects.insert((*kind, name.clone()), keys);
        }
    }
    Ok(objects)
}

fn config_map_keys(map: ConfigMap) -> Keys {
    let text = map.data.unwrap_or_default();
    let binary = map.binary_data.unwrap_or_default();
    text.into_iter()
        .map(|(key, value)| (key, value.into_bytes()))
        .chain(binary.into_iter().map(|(key, value)| (key, value.0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_volumes_and_environments() {
        let pod: Pod = serde_saphyr::from_str(
            "spec:
  volumes:
    - {name: a, configMap: {name: one}}
    - {name: b, secret: {secretName: two}}
    - {name: c, projected: {sources: [{configMap: {name: three}}, {secret: {name: four}}]}}
  initContainers:
    - {name: i, envFrom: [{secretRef: {name: five}}]}
  containers:
    - {name: m, env: [{name: X, valueFrom: {configMapKeyRef: {name: six, key: k}}}]}",
        )
        .unwrap();
        let names: Vec<String> = named(&pod)
            .into_iter()
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect();
        assert_eq!(
            names,
            [
                "ConfigMap one",
                "ConfigMap six",
                "ConfigMap three",
                "Secret five",
                "Secret four",
                "Secret two",
            ]
        );
    }
}
