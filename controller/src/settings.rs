//! What the flags come to.

use std::time::Duration;

use landfall_runtime::lease::LeaseSettings;

use crate::args::Args;

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Services without a class are ours too.
    pub default_class: bool,
    /// The leader Lease; `None`: work at once.
    pub lease: Option<LeaseSettings>,
    /// This replica's name.
    pub identity: String,
    /// How many Services are written at once.
    pub parallel: usize,
    /// How long an address whose Service is missing at start is kept.
    pub orphan_grace: Duration,
}

impl Settings {
    /// Resolves flags.
    #[must_use]
    pub fn resolve(args: &Args) -> Self {
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
        let lease = args.leader_elect.then(|| LeaseSettings {
            namespace: args.namespace.clone(),
            name: "landfall-controller".to_owned(),
            identity: identity.clone(),
            duration: args.lease_duration,
            every: args.lease_duration / 7,
        });
        Self {
            default_class: args.default_class,
            lease,
            identity,
            parallel: args.parallel_writes.max(1),
            orphan_grace: args.orphan_grace,
        }
    }
}
