//! The lab's kubelet: a small real node agent, one process per lab node.
//!
//! It plays the two things the lab has no real program for: the kubelet (Node, Lease, Pods through `runc`, volumes,
//! probes, status) and the CNI (a veth and an address per Pod). Everything it talks to is real. It is not a kubelet to
//! run workloads with: no image store, no log or exec server, no device or resource management.
//!
//! ```text
//!            watch Pods, Services, Node            plan (pure): goal + state → actions
//!  agent ───────────────────────────────► worker ◄──────────────────────────────────────┐
//!    │  one worker a Pod                    │ carries out: volumes, network, bundle, shim │
//!    │                                      ▼                                             │
//!  node: Lease, conditions              shim ─► runc ─► container      prober ── verdicts ┘
//! ```
//!
//! Invariants: what a Pod asks for and the lab does not play is said in the Pod's status, never skipped in silence;
//! containers outlive this process, and every one of them is named by a record below `--root`, which is the only list
//! of things it may ever kill.

mod agent;
mod args;
mod bundle;
mod clean;
mod cli;
mod context;
mod env;
mod hosts;
mod images;
mod ipam;
mod network;
mod node;
mod node_agent;
mod objects;
mod plan;
mod pod;
mod probe;
mod prober;
mod records;
mod rootfs;
mod runtime;
mod seccomp;
mod security;
mod services;
mod shim;
mod state;
mod status;
mod unplayed;
mod volumes;
mod worker;
mod writer;

pub use cli::main;
