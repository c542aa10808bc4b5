//! Flags of `landfall monitor`.

use std::net::IpAddr;
use std::time::Duration;

use landfall_runtime::args::duration;

use super::LineOutput;

#[derive(Clone, Debug, clap::Args)]
pub struct Monitor {
    /// Of all namespaces, also where the context names one
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Only what concerns this node, or addresses that it owns
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,

    /// Only what concerns this address
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,

    /// Tell packets instead, as each node's XDP director is done with them; takes the right to run something in the
    /// announcers' Pods
    #[arg(long, conflicts_with_all = ["all_namespaces", "changes_only"])]
    pub packets: bool,

    /// Tell instead what each node hears and says on its segment: ARP and Neighbour Discovery about Landfall's addresses, and
    /// what announcers say to each other; takes the right to run something in the announcers' Pods
    #[arg(long, conflicts_with_all = ["all_namespaces", "changes_only", "packets"])]
    pub frames: bool,

    /// With --frames, heartbeats, too: every node sends some each second
    #[arg(long, requires = "frames")]
    pub beats: bool,

    /// Leave out how addresses and nodes stand at the beginning
    #[arg(long)]
    pub changes_only: bool,

    /// How long; without, until it is interrupted
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub r#for: Option<Duration>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: LineOutput,
}
