//! Logging, and the first line of a log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::args::{CommonArgs, LogFormat};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `--log-level` cannot be read.
    #[error(
        "--log-level {level:?}: {source}; write a level (error, warn, info, debug, trace) or directives such as info,landfall_controller=debug"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process logs already.
    #[error("logging was started twice: {0}")]
    Twice(String),
}

/// What this program was built from; `LANDFALL_REVISION` of the build's environment says it.
const REVISION: &str = match option_env!("LANDFALL_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Starts logging to standard error and writes the first line: program, version, revision and kernel.
///
/// # Errors
/// When the level cannot be read, or logging was started before.
pub fn init(args: &CommonArgs, program: &str, version: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&args.log_level).map_err(|source| TelemetryError::Level {
        level: args.log_level.clone(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| TelemetryError::Twice(error.to_string()))?;
    tracing::info!(version, revision = REVISION, kernel = %kernel(), "{program} starts");
    Ok(())
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
