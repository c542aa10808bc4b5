//! What may be written in a scenario file. Unknown fields are refused; what else is checked is in [`super::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// What is waited for, where nothing else is said; a command that takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// The lab it wants.
    #[serde(default)]
    pub lab: LabSpec,
    /// Values for `${name}`.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What is done afterwards, held or not, in a lab that goes on to another scenario.
    #[serde(default)]
    pub cleanup: Vec<Step>,
}

/// The lab a scenario wants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LabSpec {
    /// Nodes.
    pub nodes: u8,
    /// Clients.
    pub clients: u8,
    /// Node → label → value.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Images that its nodes have beside those that all have: programs of hack/go-program.sh.
    pub images: BTreeSet<String>,
    /// ServiceAccounts, `NAMESPACE/NAME`, of which the API server writes down every request, for `rights`.
    pub audited: BTreeSet<String>,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            nodes: 2,
            clients: 1,
            labels: BTreeMap::new(),
            images: BTreeSet::new(),
            audited: BTreeSet::new(),
        }
    }
}

/// A step: at most one action, and what must hold afterwards.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Step {
    /// A heading; opens a chapter.
    pub title: Option<String>,
    /// A sentence for the reader.
    pub say: Option<String>,

    /// Arguments of kubectl.
    pub kubectl: Option<String>,
    /// A command on a machine.
    pub exec: Option<Exec>,
    /// An HTTP request, or several.
    pub curl: Option<Curl>,
    /// ARP requests.
    pub arping: Option<Solicit>,
    /// IPv6 neighbour solicitations.
    pub ndisc6: Option<Solicit>,
    /// Waits until an object says something; nothing is polled.
    pub r#await: Option<Await>,
    /// Reads `/metrics`.
    pub metrics: Option<Metrics>,
    /// The end of a container's log.
    pub logs: Option<Logs>,
    /// Begins to ask continuously in the background.
    pub probe: Option<Probe>,
    /// Waits until a probe is answered steadily again after the last disturbance, and says how long it was not.
    pub outage: Option<Outage>,
    /// Begins to ask by ARP for an address in the background.
    pub ask: Option<Ask>,
    /// Says how often that was asked, how often in vain, and how long two answered; since it was said last.
    pub asked: Option<String>,
    /// Opens connections and keeps asking over them in the background.
    pub hold: Option<Hold>,
    /// Says what became of the connections held under this name.
    pub held: Option<String>,
    /// Kills processes of a node.
    pub kill: Option<Kill>,
    /// Pulls or plugs a cable.
    pub link: Option<Link>,
    /// Ends a node as a power cut would.
    pub fail_node: Option<String>,
    /// Holds what the audited accounts may do against what they did.
    pub rights: Option<Rights>,

    /// From this step on an outage counts, as from one that breaks something.
    pub disturbs: bool,
    /// Regular expressions that the output must match.
    pub expect: Vec<String>,
    /// Regular expressions that the output must not match.
    pub refuse: Vec<String>,
    /// A regular expression with one group, and how many different values it must find at least.
    pub distinct: Vec<Distinct>,
    /// Whether the command must fail.
    pub fails: bool,
    /// Variable ← first group of a regular expression over the output.
    pub capture: BTreeMap<String, String>,
    /// Repeats the action until everything holds, at most this long.
    #[serde(deserialize_with = "duration_option")]
    pub within: Option<Duration>,
    /// How many lines of output are shown at most; 0: none.
    pub show: Option<usize>,
}

/// A command on a machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exec {
    /// `node-1`, `client-1`, `hub`.
    pub on: String,
    /// A line of shell.
    pub run: String,
    /// It has so long; what takes longer hangs.
    #[serde(default = "patience", deserialize_with = "duration")]
    pub at_most: Duration,
}

/// HTTP requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Curl {
    /// The machine that asks.
    pub from: String,
    /// What it asks for.
    pub url: String,
    /// How often.
    #[serde(default = "once")]
    pub times: u32,
    /// Further flags.
    #[serde(default)]
    pub flags: String,
}

/// Layer-2 solicitations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Solicit {
    /// The machine that asks.
    pub from: String,
    /// The address in question.
    pub address: String,
    /// How often.
    #[serde(default = "once")]
    pub times: u32,
}

/// A condition of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Await {
    /// `v1`, `apps/v1`, `landfall.dev/v1alpha1`.
    #[serde(default = "core")]
    pub api: String,
    /// `Service`.
    pub kind: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// kubectl's JSONPath; what it finds must match all of `expect`.
    pub path: String,
}

/// Metrics of a process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Metrics {
    /// The machine to ask from.
    pub on: String,
    /// The host to ask.
    #[serde(default = "localhost")]
    pub host: String,
    /// The port.
    pub port: u16,
    /// Which lines are shown and looked at.
    pub select: String,
    /// Regular expression of series → their sum must be above this.
    #[serde(default)]
    pub above: BTreeMap<String, f64>,
}

/// Container logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Logs {
    /// Namespace of the Pods.
    pub namespace: String,
    /// What the names of the Pods begin with.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Only lines that match this.
    pub select: Option<String>,
    /// How many lines of each Pod.
    #[serde(default = "few")]
    pub tail: usize,
}

/// A continuous probe over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Probe {
    /// What later steps call it.
    pub name: String,
    /// The machine that asks.
    pub from: String,
    /// An `http://` address, by number.
    pub url: String,
    /// A new connection so often.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// A connection unanswered for so long is lost.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

/// The silence of a probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outage {
    /// Which probe.
    pub of: String,
    /// It may have been unanswered for so long.
    #[serde(deserialize_with = "duration")]
    pub at_most: Duration,
}

/// ARP questions, one after the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ask {
    /// What later steps call it.
    pub name: String,
    /// The machine that asks.
    pub from: String,
    /// For this IPv4 address.
    pub address: String,
    /// The time between two questions.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
}

/// Connections that stay open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hold {
    /// What later steps call them.
    pub name: String,
    /// The machine that asks.
    pub from: String,
    /// An `http://` address, by number.
    pub url: String,
    /// How many.
    pub connections: u16,
    /// The first of the local ports they use, one each; none: any.
    pub ports: Option<u16>,
    /// Each asks so often.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// Each is closed after two answers, and the next opened from its port.
    #[serde(default)]
    pub anew: bool,
}

/// Processes to kill.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kill {
    /// The node.
    pub on: String,
    /// The name of the program.
    pub process: String,
    /// `KILL`, `TERM`, `STOP`, `CONT`.
    #[serde(default = "kill")]
    pub signal: String,
}

/// A cable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Link {
    /// The machine.
    pub on: String,
    /// `eth0` (data segment) or `mgmt0` (management).
    pub interface: Interface,
    /// What happens to it.
    pub state: LinkState,
}

/// An interface of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// The data segment.
    Eth0,
    /// Management.
    Mgmt0,
}

/// Whether a cable is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Plugged in.
    Up,
    /// Pulled.
    Down,
}

/// What audited accounts need not have done.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rights {
    /// Account → right, in the words of [`crate::rights::Right`] → why it may be that nothing in the scenario uses it.
    #[serde(default)]
    pub seldom: BTreeMap<String, BTreeMap<String, String>>,
}

/// A number of different values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Distinct {
    /// A regular expression with one group.
    pub find: String,
    /// How many different values it must find.
    pub at_least: usize,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Nothing: it only says something.
    Say,
    /// kubectl.
    Kubectl(&'a str),
    /// A command.
    Exec(&'a Exec),
    /// HTTP requests.
    Curl(&'a Curl),
    /// ARP requests.
    Arping(&'a Solicit),
    /// Neighbour solicitations.
    Ndisc6(&'a Solicit),
    /// Waiting for an object.
    Await(&'a Await),
    /// Metrics.
    Metrics(&'a Metrics),
    /// Container logs.
    Logs(&'a Logs),
    /// A probe begins.
    Probe(&'a Probe),
    /// A probe's silence is measured.
    Outage(&'a Outage),
    /// ARP questions begin.
    Ask(&'a Ask),
    /// What came of them.
    Asked(&'a str),
    /// Connections are opened.
    Hold(&'a Hold),
    /// They are looked at.
    Held(&'a str),
    /// Processes die.
    Kill(&'a Kill),
    /// A cable is pulled.
    Link(&'a Link),
    /// A node dies.
    FailNode(&'a str),
    /// Rights are held against their use.
    Rights(&'a Rights),
}

fn once() -> u32 {
    1
}

fn few() -> usize {
    5
}

fn patience() -> Duration {
    PATIENCE
}

fn core() -> String {
    "v1".into()
}

fn localhost() -> String {
    "127.0.0.1".into()
}

fn kill() -> String {
    "KILL".into()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is no duration like 15s: {error}"))
    })
}

fn duration_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
