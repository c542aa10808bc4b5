//! From securityContext to user, groups, capabilities and the rest. Pure.
//!
//! Capabilities are granted the way container runtimes under Kubernetes grant them: bounding, permitted and effective,
//! never inheritable or ambient. A process that is not root therefore has none after its `exec`, unless its binary
//! carries file capabilities; so a manifest that would fail on a cluster fails here too.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// What a container runtime gives by default.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All there are.
const ALL: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// Why the container cannot be made as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecurityError {
    #[error("container has runAsNonRoot and would run as root")]
    Root,
    #[error("unknown capability {0:?}")]
    Capability(String),
    #[error("the lab's kubelet does not play {0}")]
    Unplayed(String),
}

/// Pod and container context, merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) privileged: bool,
    pub(crate) read_only_root: bool,
    pub(crate) no_new_privileges: bool,
    /// The runtime's default seccomp profile applies.
    pub(crate) seccomp: bool,
    pub(crate) sysctls: BTreeMap<String, String>,
}

/// Merges the contexts of Pod and container over the image's user.
pub(crate) fn merge(
    spec: &PodSpec,
    container: &Container,
    image_user: u32,
) -> Result<Security, SecurityError> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let id = |value: Option<i64>| value.and_then(|id| u32::try_from(id).ok());
    let uid = id(own.run_as_user)
        .or(id(pod.run_as_user))
        .unwrap_or(image_user);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) && uid == 0 {
        return Err(SecurityError::Root);
    }
    let groups = pod
        .supplemental_groups
        .iter()
        .flatten()
        .copied()
        .chain(pod.fs_group);
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.or(pod.seccomp_profile);
    let seccomp = match profile.as_ref().map(|profile| profile.type_.as_str()) {
        None | Some("Unconfined") => false,
        Some("RuntimeDefault") => true,
        Some(other) => return Err(unplayed("seccompProfile.type", other)),
    };
    if let Some(kind) = own.proc_mount.filter(|kind| kind != "Default") {
        return Err(unplayed("procMount", &kind));
    }
    let armor = own.app_armor_profile.or(pod.app_armor_profile);
    if let Some(armor) = armor.filter(|profile| profile.type_ == "Localhost") {
        return Err(unplayed("appArmorProfile.type", &armor.type_));
    }
    let (add, drop) = own
        .capabilities
        .map(|c| (c.add, c.drop))
        .unwrap_or_default();
    let sysctls = pod.sysctls.into_iter().flatten();
    Ok(Security {
        uid,
        gid: id(own.run_as_group).or(id(pod.run_as_group)).unwrap_or(0),
        groups: groups
            .filter_map(|group| u32::try_from(group).ok())
            .collect(),
        capabilities: if privileged {
            ALL.iter().map(|name| (*name).to_owned()).collect()
        } else {
            capabilities(&add.unwrap_or_default(), &drop.unwrap_or_default())?
        },
        privileged,
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false) && !privileged,
        seccomp: seccomp && !privileged,
        sysctls: sysctls.map(|sysctl| (sysctl.name, sysctl.value)).collect(),
    })
}

fn unplayed(field: &str, value: &str) -> SecurityError {
    SecurityError::Unplayed(format!("{field}: {value}"))
}

/// `ALL` first, then names; what is dropped by name stays dropped unless added by name.
fn capabilities(add: &[String], drop: &[String]) -> Result<BTreeSet<String>, SecurityError> {
    let add = names(add)?;
    let drop = names(drop)?;
    let all = "CAP_ALL";
    let mut set: BTreeSet<String> = match (add.contains(all), drop.contains(all)) {
        (true, _) => ALL.iter().map(|name| (*name).to_owned()).collect(),
        (false, true) => BTreeSet::new(),
        (false, false) => DEFAULT.iter().map(|name| (*name).to_owned()).collect(),
    };
    set.retain(|name| !drop.contains(name));
    set.extend(add.into_iter().filter(|name| name != all));
    Ok(set)
}

fn names(given: &[String]) -> Result<BTreeSet<String>, SecurityError> {
    let full = |name: &String| {
        let upper = name.to_uppercase();
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        if full == "CAP_ALL" || ALL.contains(&full.as_str()) {
            Ok(full)
        } else {
            Err(SecurityError::Capability(name.clone()))
        }
    };
    given.iter().map(full).collect()
}

/// The one user all containers of the Pod name, if they agree.
pub(crate) fn common_user(spec: &PodSpec) -> Option<u32> {
    let pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    let users: BTreeSet<Option<i64>> = super::pod::containers(spec)
        .map(|container| {
            let own = container
                .security_context
                .as_ref()
                .and_then(|context| context.run_as_user);
            own.or(pod)
        })
        .collect();
    match users.iter().next() {
        Some(Some(user)) if users.len() == 1 => u32::try_from(*user).ok(),
        _ => None,
    }
}

/// The Pod's fsGroup.
pub(crate) fn fs_group(spec: &PodSpec) -> Option<u32> {
    let group = spec
        .security_context
        .as_ref()
        .and_then(|context| context.fs_group)?;
    u32::try_from(group).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(pod: &str, container: &str) -> Result<Security, SecurityError> {
        let spec: PodSpec =
            serde_saphyr::from_str(&format!("{{containers: [], securityContext: {pod}}}")).unwrap();
        let container: Container =
            serde_saphyr::from_str(&format!("{{name: c, securityContext: {container}}}")).unwrap();
        merge(&spec, &container, 0)
    }

    #[test]
    fn drop_all_and_add_one_leaves_one() {
        let security = merged("{}", "{capabilities: {drop: [ALL], add: [NET_RAW]}}").unwrap();
        assert_eq!(
            security.capabilities,
            BTreeSet::from(["CAP_NET_RAW".to_owned()])
        );
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let security = merged("{runAsUser: 1, fsGroup: 7}", "{runAsUser: 65532}").unwrap();
        assert_eq!(
            (security.uid, security.gid, security.groups),
            (65532, 0, vec![7])
        );
    }

    #[test]
    fn non_root_is_checked() {
        assert_eq!(
            merged("{runAsNonRoot: true}", "{}"),
            Err(SecurityError::Root)
        );
        assert!(merged("{runAsNonRoot: true}", "{runAsUser: 65532}").is_ok());
    }

    #[test]
    fn an_unknown_capability_is_named() {
        let error = merged("{}", "{capabilities: {add: [NET_EVERYTHING]}}").unwrap_err();
        assert_eq!(error, SecurityError::Capability("NET_EVERYTHING".into()));
    }

    #[test]
    fn a_local_seccomp_profile_is_not_played() {
        let error = merged(
            "{seccompProfile: {type: Localhost, localhostProfile: p.json}}",
            "{}",
        );
        assert!(matches!(error, Err(SecurityError::Unplayed(_))));
    }
}
