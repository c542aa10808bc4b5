//! `landfall-announcer`: parses flags, starts the parts, waits for their end.

use anyhow::Context as _;
use clap::Parser as _;
use landfall_announcer::args::Args;
use landfall_announcer::daemon;
use landfall_announcer::frames::{self, FramesArgs};
use landfall_announcer::samples::{self, SamplesArgs};
use landfall_announcer::settings::Settings;
use landfall_runtime::{shutdown, telemetry};

fn main() -> anyhow::Result<()> {
    let words = std::env::args_os().skip(1);
    match std::env::args_os().nth(1) {
        Some(word) if word == samples::COMMAND => {
            return samples::run(&SamplesArgs::parse_from(words));
        }
        Some(word) if word == frames::COMMAND => {
            return frames::run(&FramesArgs::parse_from(words));
        }
        _ => {}
    }
    let args = Args::parse();
    let level = telemetry::init(
        &args.common.log,
        "landfall-announcer",
        env!("CARGO_PKG_VERSION"),
    )?;
    let settings = Settings::try_from(&args)?;
    if args.remove_programs {
        return daemon::remove_programs(&settings);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        level
            .follow_signals()
            .context("installing signal handlers")?;
        let token = shutdown::token().context("installing signal handlers")?;
        let panicked = shutdown::on_panic(&token);
        daemon::run(settings, token).await?;
        anyhow::ensure!(
            !panicked.load(std::sync::atomic::Ordering::Relaxed),
            "a part of the announcer ended in a panic"
        );
        Ok(())
    })
}
