//! From the command line to the part that does it.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use nix::{
    mount::{MsFlags, mount},
    unistd,
};
use tracing_subscriber::EnvFilter;

use super::{
    agent,
    args::{Cli, Command, Settings},
    clean,
    records::Root,
    shim,
};

/// Entry point of the binary.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-kubelet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match (cli.command, cli.run) {
        (Some(Command::Shim(args)), _) => shim::run(&args),
        (Some(Command::Ps { root }), _) => {
            for line in clean::list(&root) {
                println!("{line}");
            }
            Ok(())
        }
        (Some(Command::Clean { root }), _) => {
            need_root()?;
            runtime()?.block_on(clean::all(&root))
        }
        (None, Some(args)) => {
            need_root()?;
            trace();
            let settings = Settings::resolve(args)?;
            // Before any other thread exists: the whole process lives in the node's namespace.
            landfall_testbed::netns::enter(&settings.netns)?;
            mount_bpffs(&Root::at(&settings.root))?;
            runtime()?.block_on(agent::run(Arc::new(settings)))
        }
        (None, None) => bail!("nothing to do: see --help"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
}

fn need_root() -> Result<()> {
    if unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("needs root: it makes network namespaces, mounts and containers")
}

fn trace() {
    let filter = EnvFilter::try_from_env("LAB_KUBELET_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

/// Gives the node a bpffs of its own where its Pods look for one.
fn mount_bpffs(root: &Root) -> Result<()> {
    let target = root.host("/sys/fs/bpf");
    std::fs::create_dir_all(&target)?;
    if is_mounted(&target)? {
        return Ok(());
    }
    mount(
        Some("bpffs"),
        &target,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("mount a bpffs on {}", target.display()))
}

fn is_mounted(target: &Path) -> Result<bool> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let target = target.to_string_lossy();
    Ok(text
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&*target)))
}
