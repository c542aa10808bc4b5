//! The two ends of `landfall connectivity test`, which run in Pods: backends that say who they are and who asked, and a
//! stranger on the segment, who asks.
//!
//! ```text
//!   node that announces                                   another node
//!   ┌───────────────────┐        ARP, NDP, TCP, UDP       ┌──────────────────────────────┐
//!   │ backend (a Pod)   │ ◄─────────── wire ────────────► │ stranger: its own Ethernet   │──► report, a line each
//!   └───────────────────┘                                 │ and IP address on eth0       │    quarter of a second
//!                                                         └──────────────────────────────┘
//! ```
//!
//! Why a stranger: a node asks nobody about an address of a Service. Its own kube-proxy answers within the node, and a
//! test from there would pass though nobody announces anything. So the stranger brings a TCP/IP stack of its own
//! (smoltcp), behind an Ethernet address of its own, and the node's kernel takes no part in what it says.
//!
//! It is no load generator and no monitor: a few packets a second, for as long as a test runs.
//!
//! Invariant: the stranger speaks in no address that somebody else answers for; it asks before.

#[cfg(feature = "program")]
pub mod backend;
#[cfg(feature = "program")]
pub mod frames;
#[cfg(feature = "program")]
pub mod interface;
#[cfg(feature = "program")]
mod questions;
pub mod report;
#[cfg(feature = "program")]
pub mod stranger;
#[cfg(feature = "program")]
pub mod victim;
