//! What an announcer publishes with its session, as one annotation of its Lease: what other nodes must know to agree on
//! candidates, and nothing else. That Lease changes when any of this does, and all announcers watch it; the session is
//! renewed in another, which only the few watch that have to know how old the last renewal is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_election::NodeName;
use landfall_wire::Mac;
use landfall_wire::link::{Link, Refusal};
use landfall_wire::peers::KeyId;
use serde::{Deserialize, Serialize};

/// Session Leases are called this, followed by the node's name.
pub const LEASE_PREFIX: &str = "announcer-";

/// The Lease in which a session is renewed is called this, followed by the node's name.
pub const RENEWAL_PREFIX: &str = "renewal-";

/// Label by which session Leases are listed. Those of renewals do not have it.
pub const LABEL: (&str, &str) = ("landfall.dev/session", "announcer");

pub const ANNOTATION: &str = "landfall.dev/announcer";

/// On a Lease whose session another node has ended: that node.
pub const FENCED_BY: &str = "landfall.dev/fenced-by";

/// An interface that can announce: up, with carrier and an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub mac: Mac,
    /// Looks like a container's: only a policy that names it may use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub container: bool,
    /// Where the XDP director runs: addresses by which other nodes of its segments find it, the first ones of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// So many addresses of an interface are published.
const MAX_ADDRESSES: usize = 8;

impl Interface {
    /// What is published of a link that can announce.
    ///
    /// # Errors
    /// Why it cannot, whatever any policy says.
    pub fn of(link: &Link) -> Result<Self, Refusal> {
        link.usable()?;
        Ok(Self {
            name: link.name.clone(),
            mac: link.mac.ok_or(Refusal::NoMac)?,
            container: link.is_container(),
            addresses: link.own_addresses().take(MAX_ADDRESSES).collect(),
        })
    }
}

/// Whether a node's director works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum XdpState {
    /// Not asked for.
    #[default]
    Off,
    /// Loaded.
    Ready,
    /// Is going: it serves the connections that it has, and new ones take the kernel's path.
    Draining,
    /// Must not be loaded on this node: traffic takes the kernel's path.
    Disabled,
    /// Could not be loaded: traffic takes the kernel's path, too. What a later version may say reads as this.
    #[serde(other)]
    Failed,
}

/// What an announcer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Published {
    /// Interfaces that may announce now.
    pub interfaces: Vec<Interface>,
    /// State of the XDP director.
    pub xdp: XdpState,
    /// About to stop: no candidate any more.
    pub leaving: bool,
    /// The keys of heartbeats it believes, by name. None: it sends none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyId>,
    /// The node that lately ended its session although peers heard it. What that node does to this Lease again is not
    /// believed for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wronged_by: Option<NodeName>,
    /// When its sessions were ended for silence lately, in seconds since its machine's start: for the process after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fenced_at: Vec<u64>,
    /// That was too often of late: others are asked before it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsteady: bool,
    /// Addresses that pods of this node have open connections of: of those that the director serves no more, and of all
    /// while another node's is going. Directors that are going go on sending them here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub carries: BTreeSet<IpAddr>,
}

impl Published {
    /// Whether a process on the machine that this is of wrote those annotations: they name interfaces, and its alone.
    #[must_use]
    pub fn machine_wrote(&self, annotations: &BTreeMap<String, String>) -> bool {
        let macs = |of: &Self| -> BTreeSet<Mac> { of.interfaces.iter().map(|i| i.mac).collect() };
        let theirs = macs(&read(annotations));
        !theirs.is_empty() && theirs.is_subset(&macs(self))
    }
}

/// Who has ended the session of this Lease, if another node has.
#[must_use]
pub fn fenced_by(annotations: &BTreeMap<String, String>) -> Option<NodeName> {
    annotations.get(FENCED_BY).map(NodeName::new)
}

/// Reads the annotation. Nonsense reads as an announcer that can do nothing.
#[must_use]
pub fn read(annotations: &BTreeMap<String, String>) -> Published {
    annotations
        .get(ANNOTATION)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Writes the annotation.
#[must_use]
pub fn write(published: &Published) -> String {
    serde_json::to_string(published).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_before_on_the_same_machine_published_is_known_by_its_interfaces() {
        let of = |macs: &[u8]| Published {
            interfaces: macs
                .iter()
                .map(|last| Interface {
                    name: "eth0".into(),
                    mac: Mac([2, 0, 0, 0, 0, *last]),
                    container: false,
                    addresses: Vec::new(),
                })
                .collect(),
            ..Published::default()
        };
        let wrote = |own: &[u8], theirs: &[u8]| {
            of(own).machine_wrote(&[(ANNOTATION.to_owned(), write(&of(theirs)))].into())
        };
        assert!(wrote(&[1, 2], &[1, 2]) && wrote(&[1, 2], &[2]));
        assert!(!wrote(&[1], &[1, 2]), "one is another's");
        assert!(!wrote(&[1], &[]), "nothing is known");
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_reads_as_nothing() {
        let published = Published {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                container: false,
                addresses: vec!["192.0.2.1".parse().unwrap()],
            }],
            xdp: XdpState::Ready,
            leaving: false,
            keys: vec![KeyId([1, 2, 3, 4])],
            wronged_by: Some(NodeName::new("n2")),
            fenced_at: vec![100, 200, 300],
            unsteady: true,
            carries: ["192.0.2.10".parse().unwrap()].into(),
        };
        let annotate = |text: String| BTreeMap::from([(ANNOTATION.to_owned(), text)]);
        assert_eq!(read(&annotate(write(&published))), published);
        assert_eq!(read(&annotate("{]".into())), Published::default());
        assert_eq!(read(&BTreeMap::new()), Published::default());
    }
}
