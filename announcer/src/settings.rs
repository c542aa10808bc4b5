//! What the flags mean, checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use landfall_bpf_lb::AttachMode;
use landfall_election::peers;
use landfall_runtime::admin;
use landfall_runtime::lease::{DurationError, whole_seconds};

use crate::args::{Args, XdpMode};
use crate::dataplane::director::DirectorSettings;
use crate::election::{LONGEST_DURATION, owners};
use crate::model::{InterfacePatterns, PatternError};
use crate::names::NodeName;
use crate::responder;
use crate::session::SessionSettings;

/// Heartbeats may come as close, and as far apart.
const FASTEST: Duration = Duration::from_millis(20);
const SLOWEST: Duration = Duration::from_secs(1);
/// The longest silence a node that is late itself may ask to be forgiven.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// A planned move is done in less.
const SOONEST_REBALANCE: Duration = Duration::from_secs(1);
/// A responder that was not seen at work for so long makes no progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// Everything the announcer goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeName,
    /// The name Events are reported by.
    pub pod: String,
    /// The ports for probes and metrics.
    pub admin: admin::Settings,
    pub session: SessionSettings,
    pub election: owners::Settings,
    /// Answering: how fast, how patient.
    pub responder: responder::Settings,
    /// Heartbeats: how often, how patient.
    pub heartbeats: peers::Settings,
    /// The directory with their keys.
    pub peer_keys: PathBuf,
    /// Interfaces that are no container's although they look like one.
    pub plain_interfaces: InterfacePatterns,
    pub director: DirectorSettings,
}

/// Why flags make no sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("--node-name is empty; in a Pod take it from spec.nodeName")]
    NoNode,
    /// A duration others could not read off the Lease, or would not wait for.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// An expression that names no interface.
    #[error("--plain-{0}")]
    Pattern(PatternError),
    /// More than a node can say, or too slow to be of use.
    #[error("--heartbeat-interval {0:?} is not within 20ms and 1s")]
    Heartbeat(Duration),
    /// A move before the one before it is done.
    #[error(
        "--rebalance-every {0:?} is less than 1s; leave it out and addresses stay where they are"
    )]
    Rebalance(Duration),
    /// Too few attempts before the session is over.
    #[error(
        "--renew-interval {interval:?} is more than a third of --session-duration {duration:?}, \
         or nothing: one lost request would end the session"
    )]
    Interval {
        interval: Duration,
        /// What it must fit into.
        duration: Duration,
    },
}

impl TryFrom<&Args> for Settings {
    type Error = SettingsError;

    fn try_from(args: &Args) -> Result<Self, SettingsError> {
        let (duration, interval) = (args.session_duration, args.renew_interval);
        if args.node_name.is_empty() {
            return Err(SettingsError::NoNode);
        }
        let range = Duration::from_secs(3)..=LONGEST_DURATION;
        let duration = whole_seconds("--session-duration", duration, range)?;
        if interval.is_zero() || interval * 3 > duration {
            return Err(SettingsError::Interval { interval, duration });
        }
        let heartbeat = args.heartbeat_interval;
        if !(FASTEST..=SLOWEST).contains(&heartbeat) {
            return Err(SettingsError::Heartbeat(heartbeat));
        }
        if let Some(pause) = args.rebalance_every
            && pause < SOONEST_REBALANCE
        {
            return Err(SettingsError::Rebalance(pause));
        }
        let node = NodeName::new(args.node_name.clone());
        Ok(Self {
            pod: args.pod_name.clone(),
            admin: (&args.common.admin).into(),
            session: SessionSettings {
                node: node.clone(),
                namespace: args.namespace.clone(),
                duration,
                every: interval,
                heartbeat,
            },
            election: owners::Settings {
                rebalance: args.rebalance_every,
                ..owners::Settings::for_duration(duration)
            },
            responder: responder::Settings::default(),
            heartbeats: heartbeats(heartbeat),
            peer_keys: args.peer_keys.clone(),
            plain_interfaces: plain_interfaces(&args.plain_interfaces)?,
            director: DirectorSettings {
                load: landfall_bpf_lb::Settings::new(&args.bpf_pin_dir),
                mode: match args.xdp_mode {
                    XdpMode::Auto => Some(AttachMode::Auto),
                    XdpMode::Native => Some(AttachMode::Native),
                    XdpMode::Tc => Some(AttachMode::Tc),
                    XdpMode::Generic => Some(AttachMode::Generic),
                    XdpMode::Off => None,
                },
            },
            node,
        })
    }
}

/// What follows from the interval. The rest waits for others and for the API server, which are as slow as they are.
fn heartbeats(interval: Duration) -> peers::Settings {
    peers::Settings {
        interval,
        longest_window: LONGEST_WINDOW.max(interval * 3),
        progress: PROGRESS,
        ..peers::Settings::default()
    }
}

fn plain_interfaces(patterns: &[String]) -> Result<InterfacePatterns, SettingsError> {
    let (compiled, mut errors) = InterfacePatterns::compile(patterns);
    match errors.pop() {
        None => Ok(compiled),
        Some(error) => Err(SettingsError::Pattern(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn settings(flags: &[&str]) -> Result<Settings, SettingsError> {
        let flags = ["landfall-announcer", "--node-name", "n1"]
            .iter()
            .chain(flags);
        Settings::try_from(&Args::parse_from(flags))
    }

    #[test]
    fn the_defaults_fit_together() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.session.duration, Duration::from_secs(15));
        assert_eq!(settings.director.mode, Some(AttachMode::Auto));
    }

    #[test]
    fn a_duration_that_others_could_not_keep_to_is_refused() {
        for duration in ["1500ms", "1s", "10m"] {
            let refused = settings(&["--session-duration", duration]).unwrap_err();
            assert!(refused.to_string().contains("whole seconds"), "{refused}");
        }
    }

    #[test]
    fn a_pattern_of_an_interface_that_cannot_be_read_is_named() {
        let refused = settings(&["--plain-interfaces", "veth1,eth["]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "--plain-interfaces[1] \"eth[\" is no regular expression: unclosed character class"
        );
    }

    #[test]
    fn heartbeats_are_neither_a_flood_nor_a_calendar() {
        for interval in ["10ms", "2s"] {
            let refused = settings(&["--heartbeat-interval", interval]).unwrap_err();
            assert!(
                refused.to_string().contains("within 20ms and 1s"),
                "{refused}"
            );
        }
        let slow = settings(&["--heartbeat-interval", "1s"])
            .unwrap()
            .heartbeats;
        assert!(slow.longest_window >= slow.interval * 3);
    }

    #[test]
    fn addresses_stay_where_they_are_unless_asked_to_be_spread() {
        assert_eq!(settings(&[]).unwrap().election.rebalance, None);
        let asked = settings(&["--rebalance-every", "1m"]).unwrap();
        assert_eq!(asked.election.rebalance, Some(Duration::from_secs(60)));
        for pause in ["0s", "999ms"] {
            let refused = settings(&["--rebalance-every", pause]).unwrap_err();
            assert!(refused.to_string().contains("less than 1s"), "{refused}");
        }
    }

    #[test]
    fn an_interval_that_leaves_no_second_chance_is_refused() {
        assert!(settings(&["--renew-interval", "6s"]).is_err());
        assert!(settings(&["--renew-interval", "0s"]).is_err());
    }
}
