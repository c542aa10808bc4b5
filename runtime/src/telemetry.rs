//! Logging, and the first line of a log.

use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::args::{CommonArgs, LogFormat};

/// What SIGUSR1 adds to the level.
const OURS_IN_DETAIL: &str = "landfall_announcer=debug,landfall_bpf_lb=debug,landfall_controller=debug,landfall_runtime=debug";

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `--log-level` cannot be read.
    #[error(
        "--log-level {level:?}: {source}; write a level (error, warn, info, debug, trace) or directives such as info,landfall_controller=debug"
    )]
    Level { level: String, source: ParseError },
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
pub fn init(args: &CommonArgs, program: &str, version: &str) -> Result<Level, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&args.log_level)?);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match args.log_format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| TelemetryError::Twice(error.to_string()))?;
    tracing::info!(version, revision = REVISION, kernel = %kernel(), "{program} starts");
    Ok(Level {
        handle,
        configured: args.log_level.clone(),
    })
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|source| TelemetryError::Level {
        level: level.to_owned(),
        source,
    })
}

/// What is logged, changeable while the process runs.
pub struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
}

impl Level {
    /// SIGUSR1: debug, of our own crates; SIGUSR2: what `--log-level` says again. A signal, not a request: the admin
    /// port answers everybody.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn follow_signals(self) -> std::io::Result<()> {
        let mut more = signal(SignalKind::user_defined1())?;
        let mut back = signal(SignalKind::user_defined2())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = more.recv() => self.set(&format!("{},{}", self.configured, OURS_IN_DETAIL)),
                    _ = back.recv() => self.set(&self.configured),
                }
            }
        });
        Ok(())
    }

    fn set(&self, level: &str) {
        let changed = filter(level).map_err(|error| error.to_string());
        let changed = changed.and_then(|filter| {
            let reloaded = self.handle.reload(filter);
            reloaded.map_err(|error| error.to_string())
        });
        match changed {
            Ok(()) => tracing::info!(level, "log level changed"),
            Err(error) => tracing::warn!(level, error, "log level not changed"),
        }
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_level_that_cannot_be_read_is_refused_with_an_example() {
        let refused = filter("landfall_controller=loud").unwrap_err().to_string();
        assert!(refused.contains("landfall_controller=debug"), "{refused}");
    }

    #[tokio::test]
    async fn a_signal_changes_the_level_and_another_one_changes_it_back() {
        let (_layer, handle) = reload::Layer::new(filter("warn").unwrap());
        let level = Level {
            handle: handle.clone(),
            configured: "warn".into(),
        };
        level.follow_signals().unwrap();
        let reads = async |wanted: &str| {
            tokio::time::timeout(Duration::from_secs(10), async {
                let said = || handle.with_current(ToString::to_string).unwrap();
                while !said().contains(wanted) || wanted == "warn" && said().contains("debug") {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        };
        for (name, wanted) in [("USR1", "landfall_announcer=debug"), ("USR2", "warn")] {
            let status = std::process::Command::new("kill")
                .arg(format!("-{name}"))
                .arg(std::process::id().to_string())
                .status();
            assert!(status.unwrap().success());
            reads(wanted).await;
        }
    }
}
