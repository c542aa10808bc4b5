//! Flags that every binary has. A flag `--x-y` is also the environment variable `LANDFALL_X_Y`; what a Pod knows of itself
//! (`NODE_NAME`, `POD_NAME`, `POD_NAMESPACE`) has the names of the downward API.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::admin::{self, CertificateFiles, Guard};

/// Flags of every binary.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,

    /// The ports for probes and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Flags of logging.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
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
}

/// Flags of the ports for probes and metrics.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// Where to serve /livez and /readyz; and, to this host alone, /metrics and /debug/state
    #[arg(
        long,
        env = "LANDFALL_ADMIN_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = address,
        value_name = "ADDRESS:PORT"
    )]
    pub admin_address: SocketAddr,

    /// Where to serve /metrics by HTTPS, to whom the API server permits to get that path; nowhere without
    #[arg(
        long,
        env = "LANDFALL_METRICS_ADDRESS",
        value_parser = address,
        value_name = "ADDRESS:PORT"
    )]
    pub metrics_address: Option<SocketAddr>,

    /// The certificate of the metrics port, as a PEM file; without, one is made at the start
    #[arg(
        long,
        env = "LANDFALL_METRICS_CERTIFICATE",
        requires = "metrics_key",
        value_name = "FILE"
    )]
    pub metrics_certificate: Option<PathBuf>,

    /// The private key of that certificate, as a PEM file
    #[arg(
        long,
        env = "LANDFALL_METRICS_KEY",
        requires = "metrics_certificate",
        value_name = "FILE"
    )]
    pub metrics_key: Option<PathBuf>,

    /// Serve the metrics port by plain HTTP to everybody
    #[arg(long, env = "LANDFALL_METRICS_PLAIN", conflicts_with = "metrics_key")]
    pub metrics_plain: bool,
}

impl From<&AdminArgs> for admin::Settings {
    fn from(args: &AdminArgs) -> Self {
        let files = args
            .metrics_certificate
            .clone()
            .zip(args.metrics_key.clone());
        let files = files.map(|(certificate, key)| CertificateFiles { certificate, key });
        let guard = if args.metrics_plain {
            Guard::Plain
        } else {
            Guard::Secure(files)
        };
        let metrics = args.metrics_address;
        Self {
            address: args.admin_address,
            metrics: metrics.map(|address| admin::Metrics { address, guard }),
        }
    }
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

/// Reads an address with a port. An IPv6 address needs no brackets, so that a manifest can write
/// `$(HOST_IP):7781` whatever family the node is of.
///
/// # Errors
/// When the text is no address with a port, with what would be one.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = || {
        let (host, port) = text.rsplit_once(':')?;
        let host: Ipv6Addr = host.parse().ok()?;
        Some(SocketAddr::from((host, port.parse().ok()?)))
    };
    let read = text.parse().ok().or_else(bare);
    read.ok_or_else(|| "write it like 192.0.2.10:7781 or [2001:db8::10]:7781".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn settings(flags: &[&str]) -> Result<admin::Settings, String> {
        let flags = ["program"].iter().chain(flags);
        let program = Program::try_parse_from(flags).map_err(|error| error.to_string())?;
        Ok((&program.common.admin).into())
    }

    #[test]
    fn nothing_is_open_to_others_unless_a_flag_says_so() {
        let settings = settings(&[]).unwrap();
        assert!(settings.address.ip().is_loopback());
        assert_eq!(settings.metrics, None);
    }

    #[test]
    fn metrics_are_guarded_unless_a_flag_says_otherwise() {
        let guard = |flags: &[&str]| {
            let flags = [&["--metrics-address", "192.0.2.1:7781"], flags].concat();
            settings(&flags).map(|settings| settings.metrics.unwrap().guard)
        };
        assert_eq!(guard(&[]), Ok(Guard::Secure(None)));
        assert_eq!(guard(&["--metrics-plain"]), Ok(Guard::Plain));
        let files = ["--metrics-certificate", "crt", "--metrics-key", "key"];
        assert!(matches!(guard(&files), Ok(Guard::Secure(Some(_)))));
        assert!(guard(&files[..2]).unwrap_err().contains("--metrics-key"));
    }

    #[test]
    fn an_address_is_read_with_and_without_brackets() {
        for (text, read) in [
            ("192.0.2.10:7781", "192.0.2.10:7781"),
            ("[2001:db8::10]:7781", "[2001:db8::10]:7781"),
            ("2001:db8::10:7781", "[2001:db8::10]:7781"),
        ] {
            assert_eq!(address(text), Ok(read.parse().unwrap()), "{text}");
        }
        for odd in ["", "7781", ":7781", "192.0.2.10", "node:7781", "::1"] {
            assert!(
                address(odd).unwrap_err().contains("192.0.2.10:7781"),
                "{odd}"
            );
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_an_example() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("15").unwrap_err().contains("15s"));
    }
}
