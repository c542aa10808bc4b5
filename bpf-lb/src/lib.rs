//! The XDP layer-4 load balancer: what is wanted, how the maps get there, and the loader.
//!
//! ```text
//! Desired ─►    diff    ─► operations ─► maps ◄── landfall_xdp, landfall_egress (ebpf/)
//!               ▲  maglev, slots          │
//!               └────── Programmed ◄──────┘  read back after a restart
//! ```
//!
//! `desired`, `maglev`, `slots`, `room`, `tables`, `programmed`, `diff` and `ageing` are pure; `director`, `maps`,
//! `collector`, `conntrack`, `links`, `interface` and `samples` touch the kernel. What the programs and this crate share is in
//! `landfall-bpf-lb-common`.
//!
//! Invariant: a packet never meets a half-made change, and nothing is ever flushed.

#![warn(missing_docs)]

mod ageing;
mod collector;
mod conntrack;
pub mod desired;
pub mod diff;
mod director;
pub mod duties;
mod frontends;
mod interface;
mod interfaces;
mod links;
pub mod maglev;
mod maps;
mod netlink;
mod nodes;
pub mod object;
pub mod programmed;
pub mod room;
pub mod samples;
mod served;
mod settings;
mod slots;
pub mod socket_filter;
mod sys;
pub mod tables;
mod turnover;
mod words;
mod xdp_features;

pub use collector::Swept;
pub use director::{Applied, ApplyError, Director, Leaving, LoadError, Sampler, load_object};
pub use landfall_bpf_lb_common::{Action, Verdict};
pub use links::{AttachError, AttachMode, Attached, XdpPath};
pub use settings::Settings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_explains_every_verdict() {
        let readme = include_str!("../README.md");
        for verdict in Verdict::ALL {
            let row = format!("| `{}` | {} |", verdict.label(), verdict.describe());
            assert!(readme.contains(&row), "missing in README.md:\n{row}");
        }
    }
}
