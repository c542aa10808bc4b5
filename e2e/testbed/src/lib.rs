//! What tests stand on. Nothing here knows Landfall: only processes, namespaces and an API server.
//!
//! - [`cgroup`]: cgroups, removed.
//! - [`netns`]: network namespaces: made, cabled, bridged, entered, run in, dropped.
//! - [`process`]: child processes, named by pid and start time.
//! - [`state`]: what exists on the machine because of a test or a lab, and taking it down.
//! - `control_plane` (a feature, because it brings a Kubernetes client): real etcd, kube-apiserver, controller manager
//!   and scheduler as child processes.
//!
//! What it is not: the lab, whose nodes run Pods and whose scenarios are data.
//!
//! Invariant: what is made here is gone when its value is dropped, and also when the process that held it was killed.

pub mod cgroup;
#[cfg(feature = "control-plane")]
pub mod control_plane;
pub mod netns;
pub mod process;
pub mod state;

/// Says that a test did not run, and what it needs; past the test harness, which would hide it.
pub fn skipped(test: &str, needs: &str) {
    use std::io::Write as _;
    // A standard error that is closed hears nothing; the test is skipped all the same.
    let _ = writeln!(std::io::stderr(), "SKIPPED (needs {needs}): {test}");
}

/// The first of these programs that is not on the `PATH`.
#[must_use]
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    programs.iter().copied().find(|program| {
        !folders
            .iter()
            .any(|folder| is_program(&folder.join(program)))
    })
}

fn is_program(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
