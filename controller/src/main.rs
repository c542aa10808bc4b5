//! `landfall-controller`.

use clap::Parser as _;
use landfall_controller::args::Args;
use landfall_controller::run::run;
use landfall_controller::settings::Settings;
use landfall_runtime::{shutdown, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let level = telemetry::init(
        &args.common.log,
        "landfall-controller",
        env!("CARGO_PKG_VERSION"),
    )?;
    level.follow_signals()?;
    let token = shutdown::token()?;
    let client = kube::Client::try_default().await?;
    let settings = Settings::resolve(&args)?;
    Box::pin(run(
        client,
        settings,
        Some((&args.common.admin).into()),
        token,
    ))
    .await
}
