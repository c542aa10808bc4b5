//! Flags as they are typed; what they mean is [`crate::settings`]'s business.

use std::time::Duration;

use landfall_runtime::args::{CommonArgs, duration};

/// Landfall's IPAM controller: addresses for LoadBalancer Services.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "landfall-controller", version)]
pub struct Args {
    /// What every binary has.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Serve Services without a loadBalancerClass too
    #[arg(long, env = "LANDFALL_DEFAULT_CLASS", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub default_class: bool,

    /// Namespaces whose Services are believed to be made for Gateways of other namespaces, separated by commas
    #[arg(
        long,
        env = "LANDFALL_GATEWAY_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMES"
    )]
    pub gateway_namespaces: Vec<String>,

    /// Work only while holding the leader Lease; false: work at once
    #[arg(long, env = "LANDFALL_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub leader_elect: bool,

    /// Namespace of the leader Lease
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "landfall-system",
        value_name = "NAME"
    )]
    pub namespace: String,

    /// Name of this replica in the leader Lease and in Events; by default the host name
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,

    /// How long the leader Lease lives without being renewed
    #[arg(long, env = "LANDFALL_LEASE_DURATION", default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub lease_duration: Duration,

    /// How many Services are written at once
    #[arg(
        long,
        env = "LANDFALL_PARALLEL_WRITES",
        default_value_t = 16,
        value_name = "N"
    )]
    pub parallel_writes: usize,

    /// How long an address whose Service is missing at start is kept
    #[arg(long, env = "LANDFALL_ORPHAN_GRACE", default_value = "1m", value_parser = duration, value_name = "DURATION")]
    pub orphan_grace: Duration,
}
