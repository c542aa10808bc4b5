//! What a machine must have before a lab is built on it; everything that is missing is said at once, each with a remedy.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use landfall_testbed::missing;

use super::node::CNI_PLUGINS;

/// Programs of the system, and the Debian package that has them.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("sysctl", "procps"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("runc", "runc"),
    ("containerd", "containerd"),
    ("catatonit", "catatonit"),
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("curl", "curl"),
    ("arping", "iputils-arping"),
    ("ndisc6", "ndisc6"),
];

/// One thing that is missing.
#[derive(Debug, PartialEq, Eq)]
pub struct Lack {
    /// What.
    pub what: String,
    /// What helps.
    pub remedy: String,
}

/// Everything that is missing on this machine.
pub fn lacks() -> Vec<Lack> {
    if !nix::unistd::geteuid().is_root() {
        return vec![Lack {
            what: "the lab needs root: it makes network namespaces and loads XDP programs".into(),
            remedy: "run it as root, for example with sudo -E, or in a virtual machine".into(),
        }];
    }
    let mut all: Vec<Lack> = TOOLS
        .iter()
        .filter(|(tool, _)| missing(&[tool]).is_some())
        .map(|(tool, package)| Lack {
            what: format!("no {tool} on the PATH"),
            remedy: format!("apt-get install {package}"),
        })
        .collect();
    if !Path::new(CNI_PLUGINS).join("ptp").is_file() {
        all.push(Lack {
            what: format!("no plugins of the CNI in {CNI_PLUGINS}"),
            remedy: "apt-get install containernetworking-plugins".into(),
        });
    }
    if all.is_empty() {
        all.extend(kernel_lacks());
    }
    all
}

/// An error with every lack and remedy, or nothing.
pub fn check() -> Result<()> {
    let all = lacks();
    if all.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = all
        .iter()
        .map(|lack| format!("  {}\n    remedy: {}", lack.what, lack.remedy))
        .collect();
    bail!("this machine cannot serve a lab:\n{}", lines.join("\n"))
}

/// Tries what the kernel and the container the lab may itself run in allow, in a namespace that vanishes with its
/// process.
fn kernel_lacks() -> Vec<Lack> {
    const TRIALS: &[(&str, &str, &str)] = &[
        (
            "true",
            "network namespaces",
            "a kernel with CONFIG_NET_NS, and CAP_SYS_ADMIN if this is a container",
        ),
        (
            "ip link add name left type veth peer name right",
            "veth pairs",
            "modprobe veth",
        ),
        (
            "ip link add name middle type bridge",
            "bridges",
            "modprobe bridge",
        ),
        ("nft add table inet lab", "nftables", "modprobe nf_tables"),
        (
            "unshare --mount --pid --uts --ipc --cgroup --fork true",
            "namespaces of mounts, processes and cgroups",
            "a kernel with CONFIG_CGROUPS and CONFIG_PID_NS, and CAP_SYS_ADMIN if this is a container",
        ),
    ];
    TRIALS
        .iter()
        .filter(|(trial, _, _)| {
            let status = Command::new("unshare")
                .args(["--net", "--", "sh", "-c", trial])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            !status.is_ok_and(|status| status.success())
        })
        .map(|(_, what, remedy)| Lack {
            what: format!("the kernel refuses {what}"),
            remedy: (*remedy).to_owned(),
        })
        .collect()
}
