//! `landfall`, also `kubectl landfall`: install, see, explain, migrate.
//!
//! ```text
//!  args ──► run ──► cluster (reads, writes) ──► picture ──► status, pools, ips, explain ──► out
//!              ├──► install (apply, wait, remove)  ◄── manifests
//!              ├──► monitor ◄── watches
//!              ├──► connectivity (test) ◄── what a stranger on the segment sees
//!              ├──► validate ◄── files
//!              └──► migrate  ◄── another balancer's objects
//! ```
//!
//! It is no second controller: what would become of a Service is asked of the controller's own planner over the
//! controller's own reading of the objects, and what an object may say of its CRD's own schema and rules.
//!
//! Invariants: what cannot be read is said and stops nothing else; what is printed follows from what was read alone, so
//! that every table is tried without a cluster; nothing that others wrote reaches the terminal unescaped.

// They panic where nobody reads any more: `out` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
mod cluster;
mod colour;
mod connectivity;
mod explain;
mod files;
mod flags;
mod install;
mod ips;
mod manifests;
mod migrate;
mod monitor;
mod out;
mod picture;
mod pools;
mod run;
mod settings;
mod status;
mod stops;
mod sysdump;
mod try_out;
mod validate;
mod words;

pub use run::main;
