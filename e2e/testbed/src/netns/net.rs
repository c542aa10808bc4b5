//! Hosts of a test: namespaces with names, joined by bridges and cables.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{add, inside, ip, sysctl};
use crate::process::{in_netns, run};

/// How long the kernel may take to let a bridge's port forward.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends what lives in the namespaces with a prefix (`$1`), and then their names, once nobody holds the other end of its
/// standard input any more: the same way when a test ends and when its process (`$2`) is killed.
const JANITOR: &str = r#"
trap '' INT TERM HUP
read -r _
for path in /run/netns/"$1"*; do
  [ -e "$path" ] || continue
  name=${path##*/}
  for pid in $(ip netns pids "$name"); do
    [ "$pid" = "$2" ] || kill -KILL "$pid"
  done
  ip netns delete "$name"
done
"#;

/// Namespaces of one test, named `lf-KIND-PID-NUMBER-HOST`. Dropping it ends them, and every process in them.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    janitor: Child,
}

impl Net {
    /// Without a host as yet.
    pub fn new(kind: &str) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let prefix = format!("lf-{kind}-{own}-{number}-");
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor", &prefix, &own.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the janitor of a test's namespaces (sh)")?;
        Ok(Self { prefix, janitor })
    }

    /// The namespace of a host.
    #[must_use]
    pub fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// Adds a host, whose addresses work at once: none of them is asked about before it is used.
    pub fn host(&self, host: &str) -> Result<()> {
        let netns = self.name(host);
        add(&netns)?;
        sysctl(&netns, "ipv6/conf/default/accept_dad", "0")?;
        self.ip(host, "link set lo up").map(drop)
    }

    /// Gives a host a bridge, which floods multicast as a plain switch does.
    pub fn bridge(&self, host: &str, bridge: &str) -> Result<()> {
        self.ip(
            host,
            &format!("link add {bridge} type bridge mcast_snooping 0"),
        )?;
        self.ip(host, &format!("link set {bridge} up")).map(drop)
    }

    /// A cable from a new interface of a host to a new port of a bridge on another, up at both ends and forwarding.
    pub fn plug(
        &self,
        (host, interface, mac): (&str, &str, &str),
        (switch, bridge, port): (&str, &str, &str),
    ) -> Result<()> {
        let peer = self.name(switch);
        self.ip(
            host,
            &format!("link add {interface} address {mac} type veth peer name {port} netns {peer}"),
        )?;
        self.ip(switch, &format!("link set {port} master {bridge} up"))?;
        self.ip(host, &format!("link set {interface} up"))?;
        // The bridge learns of the carrier a moment later, and drops what comes before.
        let deadline = Instant::now() + PATIENCE;
        while !self.port_forwards(switch, port)? {
            ensure!(
                Instant::now() < deadline,
                "{port} of {switch} does not forward after {PATIENCE:?}"
            );
            std::thread::yield_now();
        }
        Ok(())
    }

    fn port_forwards(&self, switch: &str, port: &str) -> Result<bool> {
        let shown = run(Command::new("bridge")
            .args(["-n", &self.name(switch), "link", "show", "dev"])
            .arg(port))?;
        Ok(shown.contains("state forwarding"))
    }

    /// Runs `ip` with these words on a host; it must succeed.
    pub fn ip(&self, host: &str, words: &str) -> Result<String> {
        ip(&self.name(host), words)
    }

    /// A command on a host, yet to be run.
    #[must_use]
    pub fn command(&self, host: &str, program: &str) -> Command {
        in_netns(Some(&self.name(host)), Path::new(program))
    }

    /// Runs something of this process on a host, on a thread of its own.
    pub fn inside<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        inside(&self.name(host), work)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // It has no way to fail that leaves more behind than was there.
        let _ = self.janitor.wait();
    }
}
