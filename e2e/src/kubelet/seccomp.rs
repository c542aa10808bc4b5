//! `RuntimeDefault`, as the lab plays it: what container runtimes refuse by default is refused, what a capability
//! unlocks there is unlocked here, everything else is allowed. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Refused to everybody.
const ALWAYS: &[&str] = &[
    "add_key",
    "get_mempolicy",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mbind",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "request_key",
    "set_mempolicy",
    "sysfs",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
];

/// Allowed to those who hold one of the capabilities.
const UNLOCKED: &[(&[&str], &[&str])] = &[
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (
        &["CAP_SYS_PTRACE"],
        &["kcmp", "pidfd_getfd", "process_madvise"],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (
        &["CAP_SYS_TIME"],
        &["clock_settime", "settimeofday", "stime"],
    ),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
    (&["CAP_SYSLOG"], &["syslog"]),
];

/// The profile for a set of capabilities.
pub(crate) fn profile(capabilities: &BTreeSet<String>) -> Value {
    let locked = UNLOCKED
        .iter()
        .filter(|(keys, _)| !keys.iter().any(|key| capabilities.contains(*key)))
        .flat_map(|(_, calls)| calls.iter());
    let names: BTreeSet<&str> = ALWAYS.iter().chain(locked).copied().collect();
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(capabilities: &[&str], call: &str) -> bool {
        let set = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let profile = profile(&set);
        let names = profile["syscalls"][0]["names"].as_array().unwrap().clone();
        names.contains(&json!(call))
    }

    #[test]
    fn bpf_needs_its_capability() {
        assert!(refused(&["CAP_NET_ADMIN"], "bpf"));
        assert!(!refused(&["CAP_BPF"], "bpf"));
        assert!(!refused(&["CAP_SYS_ADMIN"], "bpf"));
    }

    #[test]
    fn key_rings_are_refused_to_everybody() {
        assert!(refused(&["CAP_SYS_ADMIN"], "keyctl"));
    }
}
