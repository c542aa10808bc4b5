//! `lab`: brings a cluster up on this machine, runs scenarios in it, takes it down.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use landfall_e2e::lab::cluster::{self, Lab, Size};
use landfall_e2e::lab::plan::{Cni, Network, NodeAddress, Plan, ProxyMode};
use landfall_e2e::lab::{forward, node};
use landfall_e2e::scenario::run::{Outcome, Runner};
use landfall_e2e::scenario::spec::LabSpec;
use landfall_e2e::scenario::{Scenario, transcript::Transcript};
use landfall_testbed::process::in_netns;
use landfall_testbed::state;
use tokio::signal::unix::{SignalKind, signal};

/// The lab: a real Kubernetes cluster whose nodes are network namespaces of this machine.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a lab up and leave it up
    Up {
        /// Nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Clients on the data segment
        #[arg(long, default_value_t = 1)]
        clients: u8,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Run scenarios, each in a lab of its own unless --id names one that is up
    Run {
        /// Scenario files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Run in this lab, which stays up
        #[arg(long, conflicts_with_all = ["cni", "proxy", "node_address"])]
        id: Option<String>,
        /// Run in the cluster that this file describes, as a lab's plan does: a kind cluster (hack/kind.sh)
        #[arg(long = "in", value_name = "FILE", conflicts_with_all = ["id", "cni", "proxy", "node_address"])]
        plan: Option<PathBuf>,
        /// Run all in one lab that is large enough for each, one after the other
        #[arg(long, conflicts_with_all = ["id", "plan"])]
        together: bool,
        /// Leave the lab up afterwards (also: KEEP=1)
        #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
        keep: bool,
        /// Also write what is shown to this file, without colours
        #[arg(long)]
        transcript: Option<PathBuf>,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Read scenario files and say what is wrong with them, without running anything
    Check {
        /// Scenario files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
    },
    /// Take a lab down
    Down {
        #[command(flatten)]
        lab: Which,
        /// All labs of this machine
        #[arg(long)]
        all: bool,
    },
    /// List the labs of this machine
    List,
    /// Run a command in the network namespace of a node, a client or the hub
    Exec {
        #[command(flatten)]
        lab: Which,
        /// node-1, client-1, hub
        name: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run kubectl as the administrator
    Kubectl {
        #[command(flatten)]
        lab: Which,
        /// Its arguments
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Lead a port of the host to the API server of a lab (internal)
    #[command(hide = true)]
    Forward {
        /// The namespace to dial from
        #[arg(long)]
        hub: String,
        /// The port of 127.0.0.1
        #[arg(long)]
        port: u16,
    },
}

#[derive(Debug, Args)]
struct NetworkArgs {
    /// What connects the Pods of a new lab
    #[arg(long, value_enum, default_value_t)]
    cni: Cni,
    /// The mode of its kube-proxies
    #[arg(long, value_enum, default_value_t)]
    proxy: ProxyMode,
    /// Where its nodes have the addresses by which the cluster knows them
    #[arg(long, value_enum, default_value_t)]
    node_address: NodeAddress,
}

impl From<NetworkArgs> for Network {
    fn from(args: NetworkArgs) -> Self {
        Self {
            cni: args.cni,
            proxy: args.proxy,
            node_address: args.node_address,
        }
    }
}

#[derive(Debug, Args)]
struct Which {
    /// The lab's identifier, when there are several
    #[arg(long)]
    id: Option<String>,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up {
            nodes,
            clients,
            network,
        } => {
            let size = Size {
                nodes,
                clients,
                network: network.into(),
                labels: std::collections::BTreeMap::new(),
                images: std::collections::BTreeSet::new(),
                audited: std::collections::BTreeSet::new(),
            };
            until_signalled(up(size))
        }
        Command::Run {
            scenarios,
            id,
            plan,
            together,
            keep,
            transcript,
            network,
        } => {
            let scenarios = load(&scenarios)?;
            let transcript = Transcript::to(transcript.as_deref())?;
            let place = match (id, plan, together) {
                (Some(id), ..) => {
                    Place::Attached(Box::new(cluster::plan_of(&cluster::find(Some(&id))?.1)?))
                }
                (None, Some(file), _) => Place::Attached(Box::new(cluster::plan_in(&file)?)),
                (None, None, true) => Place::Shared(network.into()),
                (None, None, false) => Place::Own(network.into()),
            };
            until_signalled(run(scenarios, place, keep, transcript))
        }
        Command::Check { scenarios } => {
            for scenario in load(&scenarios)? {
                println!(
                    "{}: {} steps, {} nodes",
                    scenario.name,
                    scenario.steps.len(),
                    scenario.lab.nodes
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Down { lab, all } => down(&lab, all),
        Command::List => {
            for (dir, state) in state::list() {
                let owner = state
                    .owner
                    .map_or_else(|| "kept".to_owned(), |owner| format!("owner {}", owner.pid));
                println!("{}  {}  {owner}  {}", state.id, state.kind, dir.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Exec { lab, name, command } => exec(&lab, &name, &command),
        Command::Kubectl { lab, args } => kubectl(&lab, args),
        Command::Forward { hub, port } => forward::forward(&hub, port).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs a future on this one thread, which may move to another network namespace meanwhile. A signal drops the future,
/// and with it the lab.
fn until_signalled(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            result = Box::pin(work) => result,
            _ = interrupt.recv() => bail!("interrupted; a lab of its own was taken down"),
            _ = terminate.recv() => bail!("terminated; a lab of its own was taken down"),
            _ = hangup.recv() => bail!("the terminal went away; a lab of its own was taken down"),
        }
    })
}

fn load(paths: &[PathBuf]) -> Result<Vec<Scenario>> {
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    for path in paths {
        match Scenario::read(path) {
            Ok(scenario) => all.push(scenario),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() {
        Ok(all)
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

async fn up(size: Size) -> Result<ExitCode> {
    let outside = Outside::remember()?;
    let mut lab = Lab::up(&size, &mut |stage| eprintln!("lab: {stage}")).await?;
    println!("{}", leave_up(&mut lab, &outside)?);
    Ok(ExitCode::SUCCESS)
}

/// Where scenarios run.
enum Place {
    /// Each in a lab of its own, with this network.
    Own(Network),
    /// All in one new lab.
    Shared(Network),
    /// In a lab that is up.
    Attached(Box<Plan>),
}

async fn run(
    scenarios: Vec<Scenario>,
    place: Place,
    keep: bool,
    mut transcript: Transcript,
) -> Result<ExitCode> {
    let outside = Outside::remember()?;
    let groups: Vec<&[Scenario]> = match place {
        Place::Own(_) => scenarios.chunks(1).collect(),
        Place::Shared(_) | Place::Attached(_) => vec![&scenarios],
    };
    let mut all_held = true;
    for group in groups {
        let mut lab = match &place {
            Place::Attached(plan) => Lab::attach((**plan).clone())?,
            Place::Own(network) | Place::Shared(network) => {
                if let [only] = group {
                    transcript.opening(only);
                }
                let size = size_for(group, *network)?;
                Lab::up(&size, &mut |stage| transcript.stage(stage)).await?
            }
        };
        all_held &= run_in(
            &lab,
            group,
            matches!(place, Place::Attached(_)),
            &mut transcript,
        )
        .await?;
        match place {
            Place::Attached(_) => {}
            _ if keep => println!("{}", leave_up(&mut lab, &outside)?),
            _ => transcript.stage("taking the lab down"),
        }
    }
    Ok(if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs scenarios one after the other in one lab; whether all held.
async fn run_in(
    lab: &Lab,
    scenarios: &[Scenario],
    lab_stays: bool,
    transcript: &mut Transcript,
) -> Result<bool> {
    let mut all_held = true;
    for (index, scenario) in scenarios.iter().enumerate() {
        if scenarios.len() > 1 || lab_stays {
            transcript.opening(scenario);
        }
        if lab_stays {
            lab.label(&scenario.lab.labels).await?;
        }
        let mut runner = Runner::new(lab, scenario, transcript)?;
        all_held &= runner.run().await? == Outcome::Held;
        if index + 1 < scenarios.len() || lab_stays {
            runner.clean_up().await?;
        }
    }
    Ok(all_held)
}

fn size_for(scenarios: &[Scenario], network: Network) -> Result<Size> {
    let mut wanted = LabSpec {
        nodes: 1,
        clients: 0,
        ..LabSpec::default()
    };
    for scenario in scenarios {
        wanted = wanted.with(&scenario.lab).map_err(anyhow::Error::msg)?;
    }
    Ok(wanted.size(network))
}

fn leave_up(lab: &mut Lab, outside: &Outside) -> Result<String> {
    let kubeconfig = lab.keep(&outside.path())?;
    let (id, plan) = (lab.plan().id.clone(), lab.plan());
    let own = std::env::current_exe()
        .map_or_else(|_| "lab".to_owned(), |path| path.display().to_string());
    let names: Vec<&str> = plan
        .machines()
        .map(|machine| machine.name.as_str())
        .collect();
    Ok(format!(
        "\nlab {id} is up. To look around:\n  \
         export KUBECONFIG={}\n  \
         {} get nodes                  # or, without it: {own} kubectl --id {id} -- get nodes\n  \
         {own} exec --id {id} client-1 -- curl -s http://192.0.2.200/\n  \
         ls {}            # logs and everything else\n\
         names: {}\nTo take it down:\n  {own} down --id {id}",
        kubeconfig.display(),
        plan.assets.join("kubectl").display(),
        plan.dir.display(),
        names.join(" "),
    ))
}

fn down(which: &Which, all: bool) -> Result<ExitCode> {
    let labs = if all {
        state::list()
            .into_iter()
            .filter(|(_, state)| state.kind == "lab")
            .collect()
    } else {
        vec![cluster::find(which.id.as_deref())?]
    };
    for (dir, state) in labs {
        state::tear_down(&dir, &state)?;
        println!("lab {} is down", state.id);
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(which: &Which, name: &str, command: &[String]) -> Result<ExitCode> {
    let (_, state) = cluster::find(which.id.as_deref())?;
    let plan = cluster::plan_of(&state)?;
    let Some(netns) = plan.netns(name) else {
        let names: Vec<&str> = plan
            .machines()
            .map(|machine| machine.name.as_str())
            .collect();
        bail!(
            "lab {} has no {name}; it has hub {}",
            plan.id,
            names.join(" ")
        );
    };
    let (program, args) = command.split_first().context("exec needs a command")?;
    let here = std::env::current_dir().context("finding out where we are")?;
    let node = plan.nodes.iter().find(|node| node.name == name);
    let inside = node.and_then(|node| node::inside(&plan, node, program.as_ref(), &here));
    let error = inside
        .unwrap_or_else(|| in_netns(Some(netns), program.as_ref()))
        .args(args)
        .exec();
    Err(error).with_context(|| format!("running {program}"))
}

fn kubectl(which: &Which, args: Vec<String>) -> Result<ExitCode> {
    let (_, state) = cluster::find(which.id.as_deref())?;
    let plan = cluster::plan_of(&state)?;
    let error = in_netns(Some(&plan.hub), &plan.assets.join("kubectl"))
        .env("KUBECONFIG", cluster::kubeconfig(&plan, "admin"))
        .args(args)
        .exec();
    Err(error).context("running kubectl")
}

/// The network namespace this program was started in, held open so that a process can be sent back there.
struct Outside(File);

impl Outside {
    fn remember() -> Result<Self> {
        File::open("/proc/self/ns/net")
            .map(Self)
            .context("opening /proc/self/ns/net")
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        ))
    }
}
