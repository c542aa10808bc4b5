//! The OCI bundle of a container: `config.json`. Pure; `rootfs` makes the directory it mounts into.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use serde_json::{Value, json};

use super::{env, images::Image, pod, seccomp, security, security::Security, volumes};

const PATH: &str = "/landfall/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Masked and read-only parts of /proc and /sys, as container runtimes have them.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Why a container's spec cannot be turned into a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BundleError {
    #[error(transparent)]
    Security(#[from] security::SecurityError),
    #[error("volumeMount {0:?} names no volume of the Pod")]
    NoVolume(String),
    #[error("subPath {0:?} leaves its volume")]
    SubPath(String),
    #[error("unreadable quantity {0:?}")]
    Quantity(String),
}

/// Where things of the Pod are on the host.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) rootfs: PathBuf,
    pub(crate) netns: PathBuf,
    pub(crate) hostname: String,
    pub(crate) cgroup: String,
    /// Cgroups of this machine have a budget of real time.
    pub(crate) realtime: bool,
    pub(crate) hosts: PathBuf,
    pub(crate) termination_log: PathBuf,
    pub(crate) volumes: BTreeMap<String, PathBuf>,
}

/// Builds `config.json`.
pub(crate) fn config(
    pod: &Pod,
    container: &Container,
    image: &Image,
    variables: &BTreeMap<String, String>,
    place: &Place,
) -> Result<Value, BundleError> {
    let spec = pod::spec(pod);
    let security = security::merge(&spec, container, image.user)?;
    let host_network = pod::host_network(&spec);
    let mut linux = json!({
        "namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            {"type": "network", "path": place.netns},
        ],
        "cgroupsPath": place.cgroup,
        "resources": resources(container, &security, place.realtime)?,
    });
    let mut sysctls = security.sysctls.clone();
    if !host_network {
        // What container runtimes set in a Pod's own network namespace.
        let name = "net.ipv4.ip_unprivileged_port_start".to_owned();
        sysctls.entry(name).or_insert_with(|| "0".to_owned());
        linux["sysctl"] = json!(sysctls);
    }
    if !security.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    if security.seccomp {
        linux["seccomp"] = seccomp::profile(&security.capabilities);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process(container, image, variables, &security),
        "root": {"path": place.rootfs, "readonly": security.read_only_root},
        "hostname": place.hostname,
        "mounts": mounts(container, image, &security, place)?,
        "linux": linux,
    }))
}

fn process(
    container: &Container,
    image: &Image,
    variables: &BTreeMap<String, String>,
    security: &Security,
) -> Value {
    let mut environment: BTreeMap<&str, &str> = BTreeMap::from([("PATH", PATH)]);
    environment.extend(
        variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let lines: Vec<String> = environment
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let cwd = container
        .working_dir
        .as_deref()
        .filter(|dir| !dir.is_empty())
        .unwrap_or("/");
    json!({
        "terminal": false,
        "user": {"uid": security.uid, "gid": security.gid, "additionalGids": security.groups},
        "args": arguments(container, image, variables),
        "env": lines,
        "cwd": cwd,
        "noNewPrivileges": security.no_new_privileges,
        "capabilities": {
            "bounding": security.capabilities,
            "permitted": security.capabilities,
            "effective": security.capabilities,
        },
    })
}

/// `command` replaces the image's entry, `args` follow either. A command that names the image's own binary, at
/// whatever path the real image has it, is that binary.
fn arguments(
    container: &Container,
    image: &Image,
    variables: &BTreeMap<String, String>,
) -> Vec<String> {
    let command = container.command.as_deref().unwrap_or_default();
    let own = container.args.as_deref().unwrap_or_default();
    let entry: Vec<String> = match command.split_first() {
        None => std::iter::once(image.mounted_at())
            .chain(image.args.iter().cloned())
            .collect(),
        Some((first, rest)) => {
            let named = first.rsplit('/').next() == Some(image.binary().as_str());
            let first = if named {
                image.mounted_at()
            } else {
                env::expand(first, variables)
            };
            let rest = rest.iter().map(|text| env::expand(text, variables));
            std::iter::once(first).chain(rest).collect()
        }
    };
    entry
        .into_iter()
        .chain(own.iter().map(|text| env::expand(text, variables)))
        .collect()
}

fn mounts(
    container: &Container,
    image: &Image,
    security: &Security,
    place: &Place,
) -> Result<Vec<Value>, BundleError> {
    let sys = if security.privileged { "rw" } else { "ro" };
    let shared = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &shared),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &shared),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/sys", "sysfs", "sysfs", &[&shared[..], &[sys]].concat()),
        bind("/usr", Path::new("/usr"), &["ro", "nodev"]),
        bind("/etc/ssl", Path::new("/etc/ssl"), &["ro", "nodev"]),
        bind(&image.mounted_at(), &image.path, &["ro"]),
        bind("/etc/hosts", &place.hosts, &["ro"]),
    ];
    let log = container
        .termination_message_path
        .as_deref()
        .unwrap_or("/dev/termination-log");
    mounts.push(bind(log, &place.termination_log, &["rw"]));
    let mut own: Vec<&VolumeMount> = container.volume_mounts.iter().flatten().collect();
    own.sort_by_key(|mount| mount.mount_path.matches('/').count());
    for volume_mount in own {
        let name = &volume_mount.name;
        let source = place
            .volumes
            .get(name)
            .ok_or_else(|| BundleError::NoVolume(name.clone()))?;
        let source = match volume_mount
            .sub_path
            .as_deref()
            .filter(|path| !path.is_empty())
        {
            None => source.clone(),
            Some(path) if volumes::inside(path) => source.join(path),
            Some(path) => return Err(BundleError::SubPath(path.to_owned())),
        };
        let access = if volume_mount.read_only == Some(true) {
            "ro"
        } else {
            "rw"
        };
        let propagation = match volume_mount.mount_propagation.as_deref() {
            Some("HostToContainer") => "rslave",
            _ => "rprivate",
        };
        mounts.push(bind(
            &volume_mount.mount_path,
            &source,
            &[access, propagation],
        ));
    }
    Ok(mounts)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    let options = [&["rbind"][..], options].concat();
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// Time in each second that a container's real-time threads may run, in microseconds; there is a budget for all of 950,000.
const REALTIME: u32 = 60_000;

/// Limits that are set; requests become CPU shares.
///
/// Kernels of distributions know no budget of real time for each cgroup: there the capability is enough. Where this
/// kernel has one, what holds the capability gets some.
fn resources(
    container: &Container,
    security: &Security,
    realtime: bool,
) -> Result<Value, BundleError> {
    let asked = container.resources.clone().unwrap_or_default();
    let limits = asked.limits.unwrap_or_default();
    let requests = asked.requests.unwrap_or_default();
    let read = |text: &str| milli(text).ok_or_else(|| BundleError::Quantity(text.to_owned()));
    let devices = json!([{"allow": security.privileged, "access": "rwm"}]);
    let mut resources = json!({"devices": devices});
    if realtime && security.capabilities.contains("CAP_SYS_NICE") {
        resources["cpu"]["realtimePeriod"] = json!(1_000_000);
        resources["cpu"]["realtimeRuntime"] = json!(REALTIME);
    }
    if let Some(memory) = limits.get("memory") {
        resources["memory"] = json!({"limit": read(&memory.0)? / 1000});
    }
    if let Some(cpu) = requests.get("cpu") {
        let shares = read(&cpu.0)?.saturating_mul(1024) / 1000;
        resources["cpu"]["shares"] = json!(shares.clamp(2, 262_144));
    }
    if let Some(cpu) = limits.get("cpu") {
        let quota = read(&cpu.0)?.saturating_mul(100);
        resources["cpu"]["quota"] = json!(quota.max(1000));
        resources["cpu"]["period"] = json!(100_000);
    }
    Ok(resources)
}

/// A quantity in thousandths.
fn milli(text: &str) -> Option<i64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000 * 1000,
        "G" => 1000 * 1000 * 1000 * 1000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    if part.is_empty() {
        return Some(whole);
    }
    let scale = 10i64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = part.parse::<i64>().ok()?.checked_mul(factor)? / scale;
    whole.checked_add(part)
}

#[cfg(test)]
mod tests;
