//! Flags that every binary has. A flag `--x-y` is also the environment variable `LANDFALL_X_Y`; what a Pod knows of itself
//! (`NODE_NAME`, `POD_NAME`, `POD_NAMESPACE`) has the names of the downward API.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;

#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// What to log: a level, or `tracing` directives such as `info,landfall_announcer=debug`
    #[arg(
        long,
        env = "LANDFALL_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: String,

    /// How to log
    #[arg(
        long,
        env = "LANDFALL_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// Where to serve /livez, /readyz, /metrics and /debug/state
    #[arg(
        long,
        env = "LANDFALL_ADMIN_ADDRESS",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub admin_address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line a record, for people.
    Text,
    /// One JSON object a record.
    Json,
}

/// Reads a duration such as `15s`, `250ms` or `1m30s`; for `#[arg(value_parser = duration)]`.
///
/// # Errors
/// When the text is no duration, with what would be one.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 15s, 250ms or 1m30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_without_a_unit_is_refused_with_an_example() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("15").unwrap_err().contains("15s"));
    }
}
