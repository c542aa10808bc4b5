//! Hosts on a segment, each with a private bpffs beside its namespace: both end with the host's thread.

use landfall_bpf_lb::Settings;
use landfall_testbed::netns;

use super::private_settings;

/// A host; closures run on it one after the other.
pub(crate) struct Host {
    thread: netns::Host,
    pub(crate) settings: Settings,
}

impl Host {
    pub(crate) fn new() -> Self {
        let thread = netns::Host::new().expect("a host");
        let settings = thread.run(private_settings).expect("a bpffs");
        Self { thread, settings }
    }

    /// Runs `job` on this host and waits for its answer.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.thread.run(job).expect("the job ends without a panic")
    }

    /// Runs `ip` commands on this host, one a line.
    pub(crate) fn ip(&self, commands: &str) {
        self.thread.ip(commands).expect("ip");
    }

    /// Sets kernel parameters below `net` on this host.
    pub(crate) fn sysctl(&self, parameters: &[(&'static str, &'static str)]) {
        for (name, value) in parameters {
            self.thread.sysctl(name, value).expect("sysctl");
        }
    }

    /// A cable from `name` here to `peer_name` on `peer`.
    pub(crate) fn cable(&self, name: &str, peer: &Host, peer_name: &str) {
        self.thread
            .cable(name, &peer.thread, peer_name)
            .expect("a cable");
    }
}
