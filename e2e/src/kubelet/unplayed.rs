//! What the lab's kubelet does not play. A Pod that asks for it is told so instead of running as something else.

use k8s_openapi::api::core::v1::{Container, Lifecycle, Pod, PodSpec, Probe};

use super::pod;

/// Every unplayed feature that the Pod as a whole asks for.
pub(crate) fn of_pod(pod: &Pod) -> Vec<String> {
    let spec = pod::spec(pod);
    let PodSpec {
        host_pid,
        host_ipc,
        share_process_namespace,
        host_users,
        ..
    } = spec;
    let ports = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten());
    let host_port = !pod::host_network(&pod::spec(pod))
        && ports.into_iter().any(|port| port.host_port.is_some());
    let flags = [
        (host_port, "hostPort"),
        (host_pid == Some(true), "hostPID"),
        (host_ipc == Some(true), "hostIPC"),
        (
            share_process_namespace == Some(true),
            "shareProcessNamespace",
        ),
        (host_users == Some(false), "hostUsers: false"),
        (
            spec.active_deadline_seconds.is_some(),
            "activeDeadlineSeconds",
        ),
        (spec.runtime_class_name.is_some(), "runtimeClassName"),
        (spec.dns_config.is_some(), "dnsConfig"),
        (spec.set_hostname_as_fqdn == Some(true), "setHostnameAsFQDN"),
        (
            spec.ephemeral_containers.is_some_and(|e| !e.is_empty()),
            "ephemeralContainers",
        ),
        (
            spec.resource_claims.is_some_and(|c| !c.is_empty()),
            "resourceClaims",
        ),
    ];
    named(&flags)
}

/// Every unplayed feature that one container asks for.
pub(crate) fn of_container(container: &Container) -> Vec<String> {
    let mut found = named(&[
        (container.tty == Some(true), "tty"),
        (container.stdin == Some(true), "stdin"),
        (
            container
                .volume_devices
                .as_ref()
                .is_some_and(|d| !d.is_empty()),
            "volumeDevices",
        ),
    ]);
    if let Some(lifecycle) = &container.lifecycle {
        let Lifecycle {
            post_start,
            pre_stop,
            stop_signal,
        } = lifecycle;
        if post_start.is_some() {
            found.push("lifecycle.postStart".into());
        }
        if stop_signal.is_some() {
            found.push("lifecycle.stopSignal".into());
        }
        if let Some(handler) = pre_stop
            && handler.tcp_socket.is_some()
        {
            found.push("lifecycle.preStop.tcpSocket".into());
        }
        if let Some(get) = pre_stop
            .as_ref()
            .and_then(|handler| handler.http_get.as_ref())
            && get.scheme.as_deref() == Some("HTTPS")
        {
            found.push("lifecycle.preStop.httpGet.scheme: HTTPS".into());
        }
    }
    let probes = [
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
    ];
    for (kind, probe) in probes {
        found.extend(probe.iter().flat_map(|probe| of_probe(kind, probe)));
    }
    for mount in container.volume_mounts.iter().flatten() {
        if mount
            .sub_path_expr
            .as_ref()
            .is_some_and(|path| !path.is_empty())
        {
            found.push(format!("subPathExpr (of {})", mount.name));
        }
        if mount.mount_propagation.as_deref() == Some("Bidirectional") {
            found.push(format!(
                "mountPropagation: Bidirectional (of {})",
                mount.name
            ));
        }
    }
    found
}

fn of_probe(kind: &str, probe: &Probe) -> Vec<String> {
    let https = probe
        .http_get
        .as_ref()
        .is_some_and(|get| get.scheme.as_deref() == Some("HTTPS"));
    let flags = [
        (probe.grpc.is_some(), "grpc"),
        (https, "httpGet.scheme: HTTPS"),
        (
            probe.termination_grace_period_seconds.is_some(),
            "terminationGracePeriodSeconds",
        ),
    ];
    named(&flags)
        .into_iter()
        .map(|feature| format!("{kind}.{feature}"))
        .collect()
}

fn named(flags: &[(bool, &str)]) -> Vec<String> {
    flags
        .iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The sentence for the status.
pub(crate) fn message(features: &[String]) -> String {
    format!("the lab's kubelet does not play {}", features.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_wants_the_hosts_processes_is_told() {
        let pod: Pod = serde_saphyr::from_str("spec: {hostPID: true, containers: []}").unwrap();
        assert_eq!(
            message(&of_pod(&pod)),
            "the lab's kubelet does not play hostPID"
        );
    }

    #[test]
    fn an_ordinary_container_asks_for_nothing_unplayed() {
        let container: Container = serde_saphyr::from_str(
            "{name: a, readinessProbe: {httpGet: {path: /, port: 80}}, lifecycle: {preStop: {sleep: {seconds: 1}}}}",
        )
        .unwrap();
        assert_eq!(of_container(&container), Vec::<String>::new());
    }

    #[test]
    fn a_probe_over_https_is_told() {
        let container: Container = serde_saphyr::from_str(
            "{name: a, livenessProbe: {httpGet: {scheme: HTTPS, port: 80}}}",
        )
        .unwrap();
        assert_eq!(
            of_container(&container),
            ["livenessProbe.httpGet.scheme: HTTPS"]
        );
    }
}
