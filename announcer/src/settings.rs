//! What the flags mean, checked against each other.

use std::time::Duration;

use landfall_bpf_lb::AttachMode;
use landfall_runtime::admin;

use crate::args::{Args, XdpMode};
use crate::dataplane::director::DirectorSettings;
use crate::election::{self, LONGEST_DURATION};
use crate::names::NodeName;
use crate::session::SessionSettings;

/// Everything the announcer goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeName,
    /// The name Events are reported by.
    pub pod: String,
    /// The ports for probes and metrics.
    pub admin: admin::Settings,
    /// The session.
    pub session: SessionSettings,
    /// The election.
    pub election: election::Settings,
    /// The director.
    pub director: DirectorSettings,
}

/// Why flags make no sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No node.
    #[error("--node-name is empty; in a Pod take it from spec.nodeName")]
    NoNode,
    /// A duration others could not read off the Lease, or would not wait for.
    #[error(
        "--session-duration {0:?}: give whole seconds, from 3s to {max}s",
        max = LONGEST_DURATION.as_secs()
    )]
    Duration(Duration),
    /// Too few attempts before the session is over.
    #[error(
        "--renew-interval {interval:?} is more than a third of --session-duration {duration:?}, \
         or nothing: one lost request would end the session"
    )]
    Interval {
        /// What was given.
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
        if duration.subsec_nanos() != 0
            || duration < Duration::from_secs(3)
            || duration > LONGEST_DURATION
        {
            return Err(SettingsError::Duration(duration));
        }
        if interval.is_zero() || interval * 3 > duration {
            return Err(SettingsError::Interval { interval, duration });
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
            },
            election: election::Settings::for_duration(duration),
            director: DirectorSettings {
                load: landfall_bpf_lb::Settings::new(&args.bpf_pin_dir),
                mode: match args.xdp_mode {
                    XdpMode::Auto => Some(AttachMode::Auto),
                    XdpMode::Native => Some(AttachMode::Native),
                    XdpMode::Generic => Some(AttachMode::Generic),
                    XdpMode::Off => None,
                },
            },
            node,
        })
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
    fn an_interval_that_leaves_no_second_chance_is_refused() {
        assert!(settings(&["--renew-interval", "6s"]).is_err());
        assert!(settings(&["--renew-interval", "0s"]).is_err());
    }
}
