//! The lab: a real cluster whose nodes are network namespaces, and the scenarios told in it.
//!
//! - [`control_plane`]: real etcd, kube-apiserver, controller manager and scheduler as child processes.
//! - [`kubelet`]: what a node runs: Node, Lease, Pods through `runc`, the CNI.
//! - [`lab`]: the machine room: namespaces, links, nodes, clients; made, listed, taken down.
//! - [`scenario`]: YAML files of steps and expectations, and what runs them.
//! - [`process`]: child processes, named by pid and start time.

pub mod control_plane;
pub mod kubelet;
pub mod lab;
pub mod process;
pub mod scenario;

/// Says that a test did not run, and what it needs; past the test harness, which would hide it.
pub fn skipped(test: &str, needs: &str) {
    use std::io::Write as _;
    // A standard error that is closed hears nothing; the test is skipped all the same.
    let _ = writeln!(std::io::stderr(), "SKIPPED (needs {needs}): {test}");
}
