//! What the flags come to.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use landfall_runtime::lease::{DurationError, LeaseSettings, whole_seconds};

use crate::args::Args;

/// The first of the growing pauses between writes that somebody else keeps undoing.
const CONTEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a leader Lease may live: a Lease counts in seconds, and a dead leader is missed.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Services without a class are ours too.
    pub default_class: bool,
    /// Where Services made for Gateways of other namespaces are believed.
    pub gateway_namespaces: BTreeSet<String>,
    /// The leader Lease; `None`: work at once.
    pub lease: Option<LeaseSettings>,
    pub identity: String,
    /// How long the third write of one status waits that somebody else keeps undoing.
    pub contest_pause: Duration,
    /// How many Services are written at once.
    pub parallel: usize,
    /// How long an address whose Service is missing at start is kept.
    pub orphan_grace: Duration,
}

impl Settings {
    /// Resolves flags.
    ///
    /// # Errors
    /// The flag that cannot be meant, and what would do.
    pub fn resolve(args: &Args) -> Result<Self, DurationError> {
        let host = || {
            std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(
                |_| "landfall-controller".to_owned(),
                |name| name.trim().to_owned(),
            )
        };
        let name = args.identity.clone().unwrap_or_else(host);
        // Unique over restarts: a process that comes back under the same name is another one.
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let identity = format!("{name}_{started:x}");
        let duration = whole_seconds("--lease-duration", args.lease_duration, LEASE)?;
        let lease = args.leader_elect.then(|| LeaseSettings {
            namespace: args.namespace.clone(),
            name: "landfall-controller".to_owned(),
            identity: identity.clone(),
            duration,
            every: duration / 7,
        });
        Ok(Self {
            default_class: args.default_class,
            gateway_namespaces: args.gateway_namespaces.iter().cloned().collect(),
            lease,
            identity,
            contest_pause: CONTEST_PAUSE,
            parallel: args.parallel_writes.max(1),
            orphan_grace: args.orphan_grace,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_lease_duration_that_a_lease_cannot_say_is_refused_by_flag_and_range() {
        let resolve = |text: &str| {
            let args = Args::parse_from(["landfall-controller", "--lease-duration", text]);
            Settings::resolve(&args).map(|settings| settings.lease.unwrap().duration)
        };
        assert_eq!(resolve("15s"), Ok(Duration::from_secs(15)));
        for text in ["1500ms", "500ms", "0s", "1h"] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.starts_with("--lease-duration "), "{error}");
            assert!(
                error.ends_with("give whole seconds, from 1s to 600s"),
                "{error}"
            );
        }
    }
}
