//! Environment and arguments of a container: values, references, the downward API, `$(VAR)`. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::{
    objects::{Kind, Objects},
    pod::{self, Addresses},
};

/// Why an environment cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvError {
    #[error("{kind} {name:?} not found")]
    NoObject { kind: Kind, name: String },
    #[error("{kind} {name:?} has no key {key:?}")]
    NoKey {
        kind: Kind,
        name: String,
        key: String,
    },
    #[error("the lab's kubelet does not play {0}")]
    Unplayed(String),
}

/// What values may refer to.
pub(crate) struct Sources<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) addresses: &'a Addresses,
    pub(crate) objects: &'a Objects,
    /// Variables of Services.
    pub(crate) services: &'a BTreeMap<String, String>,
    /// Variables of the image.
    pub(crate) image: &'a BTreeMap<String, String>,
}

/// Resolved variables: those of Services give way to `envFrom`, and these to `env`.
pub(crate) fn resolve(
    container: &Container,
    sources: &Sources<'_>,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut variables = sources.image.clone();
    variables.extend(sources.services.clone());
    variables.insert(
        "HOSTNAME".into(),
        pod::hostname(sources.pod, &node_name(sources.pod)),
    );
    for from in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(source), _) => (Kind::ConfigMap, &source.name, source.optional),
            (None, Some(source)) => (Kind::Secret, &source.name, source.optional),
            (None, None) => return Err(EnvError::Unplayed("this source of envFrom".into())),
        };
        let prefix = from.prefix.clone().unwrap_or_default();
        match sources.objects.get(&(kind, name.clone())) {
            Some(keys) => variables.extend(keys.iter().map(|(key, value)| {
                (
                    format!("{prefix}{key}"),
                    String::from_utf8_lossy(value).into_owned(),
                )
            })),
            None if optional == Some(true) => {}
            None => {
                return Err(EnvError::NoObject {
                    kind,
                    name: name.clone(),
                });
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => referred(source, sources)?,
            (Some(text), None) => Some(expand(text, &variables)),
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

/// The value of a reference; `None` for an optional one that refers to nothing.
fn referred(source: &EnvVarSource, sources: &Sources<'_>) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        return downward(&field.field_path, sources.pod, sources.addresses).map(Some);
    }
    let (kind, name, key, optional) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(s), _) => (Kind::ConfigMap, &s.name, &s.key, s.optional),
        (None, Some(s)) => (Kind::Secret, &s.name, &s.key, s.optional),
        (None, None) => return Err(EnvError::Unplayed("this kind of valueFrom".into())),
    };
    let object = sources.objects.get(&(kind, name.clone()));
    match (object, object.and_then(|keys| keys.get(key))) {
        (_, Some(value)) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        _ if optional == Some(true) => Ok(None),
        (None, None) => Err(EnvError::NoObject {
            kind,
            name: name.clone(),
        }),
        (Some(_), None) => Err(EnvError::NoKey {
            kind,
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

fn node_name(pod: &Pod) -> String {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.clone())
        .unwrap_or_default()
}

/// A field of the Pod, as the downward API writes it.
pub(crate) fn downward(path: &str, pod: &Pod, addresses: &Addresses) -> Result<String, EnvError> {
    let meta = &pod.metadata;
    let join = |list: &[std::net::IpAddr]| {
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    if let Some((field, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match field {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(EnvError::Unplayed(format!("fieldPath {path:?}"))),
        };
        let value = map.as_ref().and_then(|map| map.get(key)).cloned();
        return Ok(value.unwrap_or_default());
    }
    let lines = |map: &Option<BTreeMap<String, String>>| {
        let lines = map
            .iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value:?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(&meta.labels),
        "metadata.annotations" => lines(&meta.annotations),
        "spec.nodeName" => node_name(pod),
        "spec.serviceAccountName" => pod::spec(pod).service_account_name.unwrap_or_default(),
        "status.podIP" => join(addresses.pod.get(..1).unwrap_or_default()),
        "status.podIPs" => join(&addresses.pod),
        "status.hostIP" => join(addresses.host.get(..1).unwrap_or_default()),
        "status.hostIPs" => join(&addresses.host),
        _ => return Err(EnvError::Unplayed(format!("fieldPath {path:?}"))),
    })
}

/// Replaces `$(NAME)`; `$$` is one dollar, and an unknown name stays as it is written.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(container: &str) -> Result<BTreeMap<String, String>, EnvError> {
        let pod: Pod = serde_saphyr::from_str(
            "metadata: {name: p, namespace: shop, uid: u, labels: {app: web}}
spec: {nodeName: worker-1, containers: []}",
        )
        .unwrap();
        let addresses = Addresses {
            pod: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            host: vec!["192.0.2.11".parse().unwrap()],
        };
        let keys = BTreeMap::from([("level".to_owned(), b"debug".to_vec())]);
        let objects = BTreeMap::from([((Kind::ConfigMap, "conf".to_owned()), keys)]);
        let sources = Sources {
            pod: &pod,
            addresses: &addresses,
            objects: &objects,
            services: &BTreeMap::from([("WEB_SERVICE_HOST".into(), "10.96.0.9".into())]),
            image: &BTreeMap::new(),
        };
        resolve(&serde_saphyr::from_str(container).unwrap(), &sources)
    }

    fn value(env: &str) -> Result<String, EnvError> {
        let all = resolved(&format!("{{name: c, env: [{env}]}}"))?;
        Ok(all.get("X").cloned().unwrap_or("(unset)".into()))
    }

    #[test]
    fn the_downward_api_names_pod_node_and_addresses() {
        let of = |path: &str| {
            value(&format!(
                "{{name: X, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}"
            ))
        };
        assert_eq!(of("metadata.name").unwrap(), "p");
        assert_eq!(of("metadata.labels['app']").unwrap(), "web");
        assert_eq!(of("spec.nodeName").unwrap(), "worker-1");
        assert_eq!(of("status.podIP").unwrap(), "10.244.1.2");
        assert_eq!(of("status.podIPs").unwrap(), "10.244.1.2,fd00::2");
        assert_eq!(of("status.hostIP").unwrap(), "192.0.2.11");
        assert!(matches!(
            of("metadata.generation"),
            Err(EnvError::Unplayed(_))
        ));
    }

    #[test]
    fn a_missing_key_is_an_error_unless_optional() {
        let of = |name: &str, key: &str, more: &str| {
            value(&format!(
                "{{name: X, valueFrom: {{configMapKeyRef: {{name: {name}, key: {key}{more}}}}}}}"
            ))
        };
        assert_eq!(of("conf", "level", "").unwrap(), "debug");
        assert!(matches!(
            of("conf", "nope", ""),
            Err(EnvError::NoKey { .. })
        ));
        assert!(matches!(
            of("gone", "level", ""),
            Err(EnvError::NoObject { .. })
        ));
        assert_eq!(of("gone", "level", ", optional: true").unwrap(), "(unset)");
    }

    #[test]
    fn env_overrides_env_from_which_overrides_services() {
        let all = resolved(
            "{name: c, envFrom: [{prefix: C_, configMapRef: {name: conf}}],
              env: [{name: WEB_SERVICE_HOST, value: mine}, {name: Y, value: $(C_level)!}]}",
        )
        .unwrap();
        assert_eq!(all["WEB_SERVICE_HOST"], "mine");
        assert_eq!(all["Y"], "debug!");
        assert_eq!(all["HOSTNAME"], "p");
    }

    #[test]
    fn expansion_leaves_what_it_does_not_know() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(
            expand("$(A) $$(A) $(B) $x $(A", &variables),
            "1 $(A) $(B) $x $(A"
        );
    }
}
