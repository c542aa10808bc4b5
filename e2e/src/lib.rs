//! The lab: a real cluster whose nodes are network namespaces, and the scenarios told in it.
//!
//! - [`control_plane`]: real etcd, kube-apiserver, controller manager and scheduler as child processes.
//! - [`lab`]: the machine room: namespaces, links, nodes, clients; made, listed, taken down.
//! - [`scenario`]: YAML files of steps and expectations, and what runs them.
//! - [`process`]: child processes, named by pid and start time.

pub mod control_plane;
pub mod lab;
pub mod process;
