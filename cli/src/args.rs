//! Flags as they are typed.

mod monitor;
mod output;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use landfall_runtime::args::duration;

pub use monitor::Monitor;
pub use output::{Colour, LineOutput, Output, OutputArg};

/// Install, see, explain and migrate to Landfall.
///
/// Exit codes: 0, all is well; 1, what was asked about is not as it should be; 2, it could not be asked.
#[derive(Clone, Debug, Parser)]
#[command(name = "landfall", version, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub connection: Connection,

    /// Whether marks have colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long = "color",
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    pub colour: Colour,

    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, as kubectl has it.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// The kubeconfig file; without, $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; without, its current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// The namespace of Services; without, that of the context
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Cluster"
    )]
    pub namespace: Option<String>,

    /// How long the API server may keep silent before a request is given up
    #[arg(
        long,
        global = true,
        default_value = "15s",
        value_parser = duration,
        value_name = "DURATION",
        help_heading = "Cluster"
    )]
    pub request_timeout: Duration,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Put Landfall into the cluster
    Install(Install),
    /// Bring what is installed to this program's version, with the settings it has
    Upgrade(Install),
    /// Take Landfall off the cluster and its nodes, in the order that leaves nothing behind
    Uninstall(Uninstall),
    /// Show on one screen whether all is well
    Status(Status),
    /// Show the pools and how full they are
    Pools(Pools),
    /// Show the addresses: who holds each, which node answers for it, since when
    Ips(Ips),
    /// Tell what happens, line by line: addresses that move, Services and Gateways, nodes, Events
    ///
    /// Begins with how the addresses stand, and the nodes where it is about all namespaces, one line each. What may not be watched is
    /// named with the right that is lacking, and the rest goes on; a watch that breaks off is taken up again, and both are said. Ends
    /// with exit code 0 when it is interrupted.
    ///
    /// It tells what the API server knows: who owns an address and why it moved, whom each node hears, foreign hosts at our
    /// addresses. Heartbeats are not in it; /debug/state of an announcer says on its own node how it does. With --packets, and
    /// then alone, it tells single packets: what the XDP director of each node made of them, and where it sent them.
    Monitor(Monitor),
    /// Tell why a Service or an address is as it is
    #[command(subcommand)]
    Explain(Explain),
    /// Find the mistakes in manifests before the cluster does
    Validate(Validate),
    /// Move over from another balancer: its objects in, Landfall's out, and no address in use changes
    Migrate(Migrate),
    /// Try whether addresses work
    #[command(subcommand)]
    Connectivity(Connectivity),
    /// Collect what somebody needs who looks at the cluster from afar, without any Secret
    Sysdump(Sysdump),
    /// Show the version of this program and of what is installed
    Version(Version),
    /// Print the completion of a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct Status {
    /// Wait until all is well, and of new pools, policies and Services something is said
    #[arg(long)]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Pools {
    /// Only these
    pub names: Vec<String>,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Ips {
    /// Of all namespaces, also where the context names one
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Explain {
    /// Why a Service has its addresses or has none: what it asks for, what every pool says, who answers
    #[command(visible_aliases = ["svc", "services"])]
    Service {
        /// Name of the Service
        name: String,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Why a Gateway has its addresses or has none: its class, listeners and routes, what every pool says, who answers; or, of
    /// another controller's, its Services
    #[command(visible_aliases = ["gtw", "gateways"])]
    Gateway {
        /// Name of the Gateway
        name: String,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Who has an address, who could have it, and who answers for it
    #[command(visible_aliases = ["lbip", "address"])]
    Ip {
        /// The address, or the name of a LoadBalancerIP
        address: String,
        #[command(flatten)]
        output: OutputArg,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct Validate {
    /// Files, folders of files, or `-` for what comes in
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR")]
    pub filenames: Vec<PathBuf>,

    /// Take the folders below a folder too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// Try them against the cluster too: its pools, nodes and API server
    #[arg(long)]
    pub cluster: bool,

    #[command(flatten)]
    pub output: OutputArg,
}

/// How much is only tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is done
    #[default]
    None,
    /// Print what would be sent
    Client,
    /// Send it, and have the API server do everything but keep it
    Server,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Install {
    /// Where the images are, such as registry.example.org/landfall
    #[arg(long, value_name = "REGISTRY", value_parser = registry)]
    pub registry: Option<String>,

    /// The tag of the images; without, the installed one, or where that is of another version this program's
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub tag: Option<String>,

    /// Serve Services without a loadBalancerClass too; false where another balancer serves them
    #[arg(long, value_name = "BOOL")]
    pub default_class: Option<bool>,

    /// Namespaces whose Services are believed to be made for Gateways of other namespaces
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = namespace)]
    pub gateway_namespaces: Option<Vec<String>>,

    /// Only try it
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "server", value_name = "WHERE")]
    pub dry_run: DryRun,

    /// Go on where a newer version is installed
    #[arg(long)]
    pub allow_downgrade: bool,

    /// Do not wait until everything runs
    #[arg(long)]
    pub no_wait: bool,

    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Uninstall {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Empty status.loadBalancer of the Services too; without, they keep their addresses for who serves them next
    #[arg(long)]
    pub release_addresses: bool,

    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,

    /// How long to wait for each step
    #[arg(long, default_value = "3m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,

    #[command(flatten)]
    pub output: OutputArg,
}

/// Whose objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    Metallb,
    Cilium,
    KubeVip,
    Purelb,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Migrate {
    /// The balancer to move over from
    #[arg(long, value_enum, value_name = "BALANCER")]
    pub from: From,

    /// Its objects, from files or folders; without, from the cluster
    #[arg(short, long = "filename", value_name = "FILE|DIR")]
    pub filenames: Vec<PathBuf>,

    /// Write the pools of the plan; without, it is only printed
    #[arg(long)]
    pub apply: bool,

    /// Write the policies too: once nobody else announces the addresses any more
    #[arg(long, requires = "apply")]
    pub announce: bool,

    /// Accept that addresses which no pool of the plan covers become nobody's
    #[arg(long)]
    pub leave_alone: bool,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Connectivity {
    /// Give a Service of its own an address, and ask for it from the segment: who answers, whether connections and datagrams
    /// are answered, whether any is lost when backends and the address move; and take all of it away
    Test(ConnectivityTest),
}

/// What is tried, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Landfall runs
    Installed,
    /// Pools are accepted and have addresses left
    Pools,
    /// The test's backends run
    Backends,
    /// Their Service gets its addresses
    Address,
    /// One node owns each address and says that it answers
    Owner,
    /// The test's client has a place on the segment
    Client,
    /// The owner answers ARP, and nobody else does
    Arp,
    /// The owner answers NDP, and nobody else does
    Ndp,
    /// Every new connection is answered
    Tcp,
    /// Every datagram is answered
    Udp,
    /// Backends see the client's own address
    ClientAddress,
    /// The owner's XDP programs carry the packets
    Xdp,
    /// No new connection is lost while all backends are replaced
    RollingUpdate,
    /// No new connection is lost while the address moves because its backends leave the owner's node
    PlannedMove,
    /// The address is answered while its owner's announcer is deleted and started anew (--disruptive)
    Restart,
    /// The address is answered after its owner's announcer was killed, as by a crash (--disruptive)
    Failover,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ConnectivityTest {
    /// Only these checks, and what they stand on
    #[arg(long = "test", value_enum, value_name = "CHECK")]
    pub tests: Vec<Check>,

    /// The namespace that the test makes, and takes away
    #[arg(long, default_value = "landfall-test", value_name = "NAME")]
    pub test_namespace: String,

    /// The pool to take addresses from; without, that which a Service gets
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,

    /// The image of the test's programs; without, landfall-probe beside the announcers' image
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Also delete the Pod of the announcer that owns the test's address, and kill the next owner's
    #[arg(long)]
    pub disruptive: bool,

    /// How long to wait for each thing
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,

    /// Take away first what a test of this namespace left whose client still runs
    #[arg(long)]
    pub clear: bool,

    /// Write what became of each check to a file, as JUnit has it
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Version {
    /// Only of this program
    #[arg(long)]
    pub client: bool,

    #[command(flatten)]
    pub output: OutputArg,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Sysdump {
    /// The folder to make; without, one with the time in its name
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

/// Where images are, as it stands before their names.
fn registry(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._/:[]".contains(c);
    if text.contains("://") {
        Err("has a scheme: write it without, as in registry.example.org/landfall".to_owned())
    } else if host.is_empty() || !text.chars().all(fits) || path.contains(':') {
        Err(
            "is no registry: write it like registry.example.org:5000/landfall, without tag"
                .to_owned(),
        )
    } else {
        Ok(text.to_owned())
    }
}

fn tag(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match begins && text.len() <= 128 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("is no tag of an image: write it like 1.2.3".to_owned()),
    }
}

/// The name of a namespace, or nothing.
fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: char| c != '-';
    match text.len() <= 63
        && text.chars().all(fits)
        && text.chars().next().is_none_or(ends)
        && text.chars().last().is_none_or(ends)
    {
        true => Ok(text.to_owned()),
        false => Err(
            "is no name of a namespace: those have lower-case letters, digits and dashes"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_stand_in_an_image_or_a_flag_is_refused_where_it_is_typed() {
        let read = |flag: &str| Args::try_parse_from(["landfall", "install", flag]).is_ok();
        for good in [
            "--registry=registry.example.org:5000/lf/",
            "--registry=[2001:db8::1]:5000/lf",
            "--tag=1.2.3-rc_1",
            "--gateway-namespaces=a,b-c",
            "--gateway-namespaces=",
        ] {
            assert!(read(good), "{good}");
        }
        for bad in [
            "--registry=",
            "--registry=https://registry.example.org/lf",
            "--registry=registry.example.org/lf:7",
            "--registry=a b",
            "--tag=",
            "--tag=a/b",
            "--gateway-namespaces=A_B,",
            "--gateway-namespaces=-a",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }
}
