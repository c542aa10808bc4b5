//! The flags, as typed. [`crate::settings`] makes sense of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use landfall_runtime::args::{CommonArgs, duration};

/// Announces LoadBalancer addresses from this node at layer 2, and balances their traffic by XDP.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "landfall-announcer",
    version,
    after_help = "landfall-announcer samples --help tells how to see packets of this node, landfall-announcer frames --help what it hears \
                  and says on its segment."
)]
pub struct Args {
    /// Flags of every binary.
    #[command(flatten)]
    pub common: CommonArgs,

    /// The node this announcer runs on, by the name of its Node object
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: String,

    /// The namespace of the announcers' session Leases
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "landfall-system",
        value_name = "NAME"
    )]
    pub namespace: String,

    /// The name Events are reported by
    #[arg(
        long,
        env = "POD_NAME",
        default_value = "landfall-announcer",
        value_name = "NAME"
    )]
    pub pod_name: String,

    /// How long this node may answer after its last renewed session, in whole seconds
    #[arg(long, env = "LANDFALL_SESSION_DURATION", default_value = "15s",
          value_parser = duration, value_name = "DURATION")]
    pub session_duration: Duration,

    /// How often the session is renewed
    #[arg(long, env = "LANDFALL_RENEW_INTERVAL", default_value = "5s",
          value_parser = duration, value_name = "DURATION")]
    pub renew_interval: Duration,

    /// Where the keys of the heartbeats are, a file a key. Without any there are no heartbeats, and a node's death is
    /// noticed only when its session ends
    #[arg(
        long,
        env = "LANDFALL_PEER_KEYS",
        default_value = "/etc/landfall/peers",
        value_name = "DIRECTORY"
    )]
    pub peer_keys: PathBuf,

    /// Between two heartbeats; a node is missed after three. The same on every node
    #[arg(long, env = "LANDFALL_HEARTBEAT_INTERVAL", default_value = "50ms",
          value_parser = duration, value_name = "DURATION")]
    pub heartbeat_interval: Duration,

    /// Interfaces that are no container's although their names say so, as regular expressions of whole names: policies
    /// without `interfaces` use them too. The same on every node
    #[arg(
        long,
        env = "LANDFALL_PLAIN_INTERFACES",
        value_delimiter = ',',
        value_name = "PATTERN"
    )]
    pub plain_interfaces: Vec<String>,

    /// How often this node gives one address to a node that has two or more fewer, by a planned move, until all have
    /// about the same; at least 1s. Without it addresses move only when they must
    #[arg(long, env = "LANDFALL_REBALANCE_EVERY", value_parser = duration, value_name = "DURATION")]
    pub rebalance_every: Option<Duration>,

    /// Where the director keeps its maps and links over a restart; on a bpffs
    #[arg(
        long,
        env = "LANDFALL_BPF_PIN_DIR",
        default_value = "/sys/fs/bpf/landfall",
        value_name = "DIRECTORY"
    )]
    pub bpf_pin_dir: PathBuf,

    /// How to attach the XDP director to interfaces of XDP policies
    #[arg(
        long,
        env = "LANDFALL_XDP_MODE",
        default_value = "auto",
        value_name = "MODE"
    )]
    pub xdp_mode: XdpMode,

    /// Take the director's programs, links and maps off this node, also those of an earlier process, and end
    #[arg(long, env = "LANDFALL_REMOVE_PROGRAMS")]
    pub remove_programs: bool,
}

/// How to attach the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// Native where the driver can, else at TC, else generic.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// As packets enter the network stack, or not at all.
    Tc,
    /// Before the network stack.
    Generic,
    /// Never: XDP policies take the kernel's path on this node; what an earlier process left serves what it has to its end.
    Off,
}
