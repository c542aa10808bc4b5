//! Flags and what they resolve to. Parsing only: nothing here touches the node.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "lab-kubelet",
    version,
    about = "The lab's kubelet and CNI: one process per lab node",
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Option<RunArgs>,
}

/// What else the binary does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kill every container, network namespace and mount recorded below a root; also after a crash
    Clean {
        /// The node's root, as given to the running agent
        #[arg(long)]
        root: PathBuf,
    },
    /// Print the running containers below a root, one JSON object a line
    Ps {
        /// The node's root, as given to the running agent
        #[arg(long)]
        root: PathBuf,
    },
    /// Parent of one container (internal)
    #[command(hide = true)]
    Shim(ShimArgs),
}

/// What a shim needs to know.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// State directory of runc
    #[arg(long)]
    pub(crate) runc_root: PathBuf,
    /// The bundle, which also takes the records
    #[arg(long)]
    pub(crate) bundle: PathBuf,
    /// The container's id
    #[arg(long)]
    pub(crate) id: String,
    /// Where stdout and stderr are appended
    #[arg(long)]
    pub(crate) log: PathBuf,
}

/// Flags of the agent itself.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name of the Node object
    #[arg(long)]
    node_name: String,
    /// Kubeconfig for the API server
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The node's network namespace (below /run/netns)
    #[arg(long)]
    netns: String,
    /// InternalIPs on the data segment: V4[,V6]
    #[arg(long, value_delimiter = ',', required = true)]
    node_ip: Vec<IpAddr>,
    /// The node's own root: hostPath volumes, Pod volumes, bundles, records
    #[arg(long)]
    root: PathBuf,
    /// Table from image names to binaries (YAML)
    #[arg(long)]
    images: PathBuf,
    /// Pod network namespaces are called PREFIX-<8 hex>
    #[arg(long, default_value = "lf-pod")]
    pod_netns_prefix: String,
    /// Container logs, one file a container [default: ROOT/logs]
    #[arg(long)]
    log_dir: Option<PathBuf>,
    /// Further label of the Node, k=v
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Further labels of the Node: a YAML mapping
    #[arg(long)]
    labels_file: Option<PathBuf>,
    /// On SIGTERM stop all Pods and remove what was made, instead of leaving containers running
    #[arg(long)]
    drain_on_exit: bool,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form key=value")),
    }
}

/// Resolved settings of a running agent.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node_name: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) netns: String,
    pub(crate) node_ips: Vec<IpAddr>,
    pub(crate) root: PathBuf,
    pub(crate) images: PathBuf,
    pub(crate) pod_netns_prefix: String,
    pub(crate) log_dir: PathBuf,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) drain_on_exit: bool,
}

impl Settings {
    /// Resolves flags; paths become absolute because bundles name them.
    pub(crate) fn resolve(args: RunArgs) -> Result<Self> {
        let RunArgs {
            node_name,
            kubeconfig,
            netns,
            node_ip,
            root,
            images,
            pod_netns_prefix,
            log_dir,
            labels,
            labels_file,
            drain_on_exit,
        } = args;
        let families: Vec<bool> = node_ip.iter().map(IpAddr::is_ipv4).collect();
        if families.iter().filter(|v4| **v4).count() > 1
            || families.iter().filter(|v4| !**v4).count() > 1
        {
            bail!("--node-ip takes at most one address of each family");
        }
        std::fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
        let root = root.canonicalize()?;
        let log_dir = log_dir.unwrap_or_else(|| root.join("logs"));
        std::fs::create_dir_all(&log_dir)
            .with_context(|| format!("create {}", log_dir.display()))?;
        let mut all = match labels_file {
            Some(path) => read_labels(&path)?,
            None => BTreeMap::new(),
        };
        all.extend(labels);
        Ok(Self {
            node_name,
            kubeconfig,
            netns,
            node_ips: node_ip,
            log_dir: log_dir.canonicalize()?,
            root,
            images: images
                .canonicalize()
                .with_context(|| format!("--images {}", images.display()))?,
            pod_netns_prefix,
            labels: all,
            drain_on_exit,
        })
    }

    /// The node's network namespace, by path.
    pub(crate) fn netns_path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }
}

fn read_labels(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is not a mapping", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_needs_a_key_and_an_equals_sign() {
        assert_eq!(parse_label("zone=a=b"), Ok(("zone".into(), "a=b".into())));
        assert!(parse_label("zone").is_err());
        assert!(parse_label("=x").is_err());
    }

    #[test]
    fn the_agent_and_its_subcommands_parse() {
        let cli = Cli::try_parse_from([
            "lab-kubelet",
            "--node-name",
            "n1",
            "--kubeconfig",
            "k",
            "--netns",
            "ns",
            "--node-ip",
            "192.0.2.11,2001:db8::11",
            "--root",
            "r",
            "--images",
            "i",
        ])
        .unwrap();
        assert_eq!(cli.run.unwrap().node_ip.len(), 2);
        let cli = Cli::try_parse_from(["lab-kubelet", "clean", "--root", "r"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Clean { .. })));
    }
}
