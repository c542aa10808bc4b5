//! `lab-failover`: measures in a lab how long a client goes without an address whose owner fails; see
//! `landfall_e2e::failover`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use landfall_e2e::failover::{Case, Options, run};
use tokio::signal::unix::{SignalKind, signal};

/// How long a client goes without an address whose owner fails.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Flags {
    /// Nodes that announce; two more have the backends
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Addresses; a thousand Services have them, or fewer
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    addresses: u16,
    /// All of them on the node that something befalls: of the nodes that announce, two may own them
    #[arg(long)]
    together: bool,
    /// Addresses asked about at a time; with fewer each is asked about more often, and one client is answered a thousand
    /// times a second at the most
    #[arg(long, default_value_t = 20)]
    asked: usize,
    /// Who forwards: Kernel or XDP
    #[arg(long, default_value = "Kernel", value_parser = ["Kernel", "XDP"])]
    mode: String,
    /// What befalls the owner; all of it unless some is named
    #[arg(long, value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// How often each; `rest` and `busy` once
    #[arg(long, env = "REPEAT", default_value_t = 3)]
    repeat: usize,
    /// How long `rest` and `busy` last
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10m")]
    quiet: Duration,
    /// Between two questions of the client, whatever about
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1ms")]
    pause: Duration,
    /// Where the figures go
    #[arg(long, default_value = "target/figures/bench-failover.json")]
    file: PathBuf,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let options = Options {
        nodes: flags.nodes,
        addresses: flags.addresses,
        together: flags.together,
        asked: flags.asked,
        mode: flags.mode,
        cases: if flags.cases.is_empty() {
            Case::ALL.to_vec()
        } else {
            flags.cases
        },
        repeat: flags.repeat,
        quiet: flags.quiet,
        pause: flags.pause,
        file: flags.file,
    };
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-failover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// On one thread, because that is in the hub's namespace; a signal ends it, and with it the lab.
fn measure(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run(options) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })
}
