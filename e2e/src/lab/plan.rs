//! The lab on paper: names, addresses and the commands that build it. Pure: nothing here touches the machine.
//!
//! ```text
//!   hub      ┌── bridge "data" (192.0.2.0/24, 2001:db8::/64) ──┬── eth0 of every node ── pods behind it
//!            │                                                 └── eth0 of every client
//!            └── bridge "mgmt" (198.51.100.0/24): .1 is the control plane ── mgmt0 of every node
//! ```
//!
//! The data segment and management are apart, so that a data link can be cut while the API server stays in reach, and
//! the other way round. Addresses are those set aside for documentation.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Where the API server listens, on the management bridge of the hub.
pub const API_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The cluster's own name server.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// What the names of Services end with.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Its port.
pub const API_PORT: u16 = 6443;
/// The router of the data segment, which the lab does not have: it has nowhere to lead.
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// More nodes or clients than this do not fit the address plan.
pub const MOST: u8 = 60;

/// A node or a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `node-1`, `client-1`.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its address on the data segment.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address on the data segment.
    pub ipv6: Ipv6Addr,
    /// The hardware address of `eth0`.
    pub mac: String,
    /// Its management address; clients have none.
    pub mgmt: Option<Ipv4Addr>,
    /// The first process of a node that somebody else started: a container of kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<i32>,
}

impl Machine {
    fn node(id: &str, number: u8) -> Self {
        Self {
            name: format!("node-{number}"),
            netns: format!("lf-{id}-node-{number}"),
            ipv4: Ipv4Addr::new(192, 0, 2, 10 + number),
            ipv6: data_v6(0x10, number),
            mac: format!("02:00:00:00:10:{number:02x}"),
            mgmt: Some(Ipv4Addr::new(198, 51, 100, 10 + number)),
            init: None,
        }
    }

    fn client(id: &str, number: u8) -> Self {
        Self {
            name: format!("client-{number}"),
            netns: format!("lf-{id}-client-{number}"),
            ipv4: Ipv4Addr::new(192, 0, 2, 100 + number),
            ipv6: data_v6(0xc0, number),
            mac: format!("02:00:00:00:c0:{number:02x}"),
            mgmt: None,
            init: None,
        }
    }

    /// Its interfaces that a cable is plugged into.
    pub fn interfaces(&self) -> &'static [&'static str] {
        if self.mgmt.is_some() {
            &["eth0", "mgmt0"]
        } else {
            &["eth0"]
        }
    }

    /// The bridge port in the hub at the other end of one of its interfaces: the socket its cable is plugged into.
    pub fn port(&self, interface: &str) -> String {
        format!(
            "{}-{}",
            if interface == "mgmt0" { "m" } else { "d" },
            self.name
        )
    }
}

fn data_v6(kind: u16, number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, kind, u16::from(number))
}

/// How Pods of one node reach those of another, and what serves ClusterIPs: what is a user's choice, and not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The CNI.
    pub cni: Cni,
    /// kube-proxy's mode.
    pub proxy: ProxyMode,
    /// By which address the cluster knows a node.
    #[serde(default)]
    pub node_address: NodeAddress,
}

/// What connects Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Cni {
    /// Routes between the nodes, a veth pair a Pod: as Calico does without an overlay, or kindnet.
    #[default]
    Routes,
    /// flannel's DaemonSet with VXLAN, a bridge on every node.
    Flannel,
}

/// Where a node's internal address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAddress {
    /// Where the clients are.
    #[default]
    Data,
    /// On the management network, which has IPv4 alone.
    Management,
}

impl NodeAddress {
    /// As the kubelet's flag has it.
    pub fn of(self, node: &Machine) -> String {
        match (self, node.mgmt) {
            (Self::Management, Some(address)) => address.to_string(),
            _ => format!("{},{}", node.ipv4, node.ipv6),
        }
    }
}

/// How kube-proxy serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    /// By nftables.
    #[default]
    Nftables,
    /// By iptables, kube-proxy's default.
    Iptables,
}

impl ProxyMode {
    /// As kube-proxy's flag has it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// Everything with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The lab's identifier.
    pub id: String,
    /// The lab's directory.
    pub dir: PathBuf,
    /// The namespace of the bridges and of the control plane.
    pub hub: String,
    /// The nodes.
    pub nodes: Vec<Machine>,
    /// The clients.
    pub clients: Vec<Machine>,
    /// The programs of the control plane.
    pub assets: PathBuf,
    /// What carries Pods' packets and serves ClusterIPs.
    #[serde(default)]
    pub network: Network,
    /// The port of the host's loopback that leads to the API server, when there is one.
    pub forwarded: Option<u16>,
}

/// A shell script and the namespace it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The namespace.
    pub netns: String,
    /// The lines; the first one that fails ends it.
    pub text: String,
}

impl Plan {
    /// A lab of so many nodes and clients.
    pub fn new(id: &str, dir: PathBuf, assets: PathBuf, nodes: u8, clients: u8) -> Result<Self> {
        ensure!(
            (1..=MOST).contains(&nodes),
            "a lab has 1 to {MOST} nodes, not {nodes}"
        );
        ensure!(
            clients <= MOST,
            "a lab has at most {MOST} clients, not {clients}"
        );
        Ok(Self {
            id: id.to_owned(),
            dir,
            hub: format!("lf-{id}-hub"),
            nodes: (1..=nodes)
                .map(|number| Machine::node(id, number))
                .collect(),
            clients: (1..=clients)
                .map(|number| Machine::client(id, number))
                .collect(),
            assets,
            network: Network::default(),
            forwarded: None,
        })
    }

    /// What all names of network namespaces of this lab begin with.
    pub fn namespace_prefix(&self) -> String {
        format!("lf-{}-", self.id)
    }

    /// The cgroup of all nodes.
    pub fn cgroup(&self) -> String {
        format!("landfall-lab/{}", self.id)
    }

    /// Nodes and clients.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.nodes.iter().chain(&self.clients)
    }

    /// A machine by its name.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines().find(|machine| machine.name == name)
    }

    /// The namespace of a machine, or of the hub.
    pub fn netns(&self, name: &str) -> Option<&str> {
        if name == "hub" {
            Some(&self.hub)
        } else {
            self.machine(name).map(|machine| machine.netns.as_str())
        }
    }

    /// The names of all network namespaces to make.
    pub fn namespaces(&self) -> Vec<&str> {
        std::iter::once(self.hub.as_str())
            .chain(self.machines().map(|machine| machine.netns.as_str()))
            .collect()
    }

    /// What builds the links: the hub first, because it makes both ends of every cable.
    pub fn scripts(&self) -> Vec<Script> {
        std::iter::once(self.hub_script())
            .chain(self.machines().map(machine_script))
            .collect()
    }

    fn hub_script(&self) -> Script {
        let mut text = format!(
            "{PREAMBLE}\
             ip link add data type bridge forward_delay 0\n\
             ip link add mgmt type bridge forward_delay 0\n\
             sysctl -qw net.ipv6.conf.data.disable_ipv6=1 net.ipv4.ip_forward=1\n\
             ip link set data up\nip link set mgmt up\n\
             ip address add {API_SERVER}/24 dev mgmt\n"
        );
        for machine in self.machines() {
            text.push_str(&cable(machine, "eth0", "data", &machine.mac));
            if machine.mgmt.is_some() {
                text.push_str(&cable(
                    machine,
                    "mgmt0",
                    "mgmt",
                    &machine.mac.replacen("02:", "06:", 1),
                ));
            }
        }
        // The API server asks a kubelet at the node's address on the data segment, by way of management.
        for node in &self.nodes {
            if let Some(mgmt) = node.mgmt {
                let _ = writeln!(text, "ip route add {} via {mgmt} dev mgmt", node.ipv4);
            }
        }
        Script {
            netns: self.hub.clone(),
            text,
        }
    }

    /// Routes to the pods of the other nodes over the data segment, as a CNI without an overlay makes them; and from the
    /// control plane to all pods over management, whatever the CNI.
    pub fn route_scripts(&self, pods: &[(String, Vec<String>)]) -> Vec<Script> {
        let mut scripts = Vec::new();
        let routed = match self.network.cni {
            Cni::Routes => &self.nodes[..],
            Cni::Flannel => &[],
        };
        for node in routed {
            let mut text = String::from("set -e\n");
            for other in self.nodes.iter().filter(|other| other.name != node.name) {
                for range in ranges_of(pods, &other.name) {
                    let via = if range.contains(':') {
                        IpAddr::V6(other.ipv6)
                    } else {
                        IpAddr::V4(other.ipv4)
                    };
                    let _ = writeln!(text, "ip route replace {range} via {via} dev eth0");
                }
            }
            scripts.push(Script {
                netns: node.netns.clone(),
                text,
            });
        }
        let mut text = String::from("set -e\n");
        for node in &self.nodes {
            for range in ranges_of(pods, &node.name).filter(|range| !range.contains(':')) {
                if let Some(mgmt) = node.mgmt {
                    let _ = writeln!(text, "ip route replace {range} via {mgmt} dev mgmt");
                }
            }
        }
        scripts.push(Script {
            netns: self.hub.clone(),
            text,
        });
        scripts
    }
}

/// Where a node keeps what belongs to it alone.
pub fn node_root(plan: &Plan, node: &Machine) -> PathBuf {
    plan.dir.join("nodes").join(&node.name)
}

/// The pod ranges of a node.
fn ranges_of<'a>(
    pods: &'a [(String, Vec<String>)],
    name: &str,
) -> impl Iterator<Item = &'a String> {
    pods.iter()
        .filter(move |(node, _)| node == name)
        .flat_map(|(_, ranges)| ranges)
}

/// No duplicate address detection and no router advertisements: addresses work at once and come from nowhere else.
const PREAMBLE: &str = "set -e\n\
    sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
    net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0\n\
    ip link set lo up\n";

fn cable(machine: &Machine, interface: &str, bridge: &str, mac: &str) -> String {
    let (port, netns) = (machine.port(interface), &machine.netns);
    format!(
        "ip link add {port} type veth peer name {interface} address {mac} netns {netns}\n\
         sysctl -qw net.ipv6.conf.{port}.disable_ipv6=1\n\
         ip link set {port} master {bridge} up\n"
    )
}

fn machine_script(machine: &Machine) -> Script {
    let mut text = String::from(PREAMBLE);
    if machine.mgmt.is_some() {
        // A node forwards for its pods, and takes packets whose way back leads elsewhere.
        text.push_str(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
             net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0\n",
        );
    }
    // No checksum offload: what leaves a machine here is what would leave a network card, checksums complete.
    let _ = write!(
        text,
        "ethtool -K eth0 tx off >/dev/null\n\
         ip address add {}/24 dev eth0\n\
         ip address add {}/64 dev eth0 nodad\n\
         ip link set eth0 up\n",
        machine.ipv4, machine.ipv6
    );
    if let Some(mgmt) = machine.mgmt {
        // A default route in each family, as every node has one: without it a packet to a Service's address would be
        // refused before kube-proxy's rules see it. Neither leads out of the lab.
        let _ = write!(
            text,
            "ip address add {mgmt}/24 dev mgmt0\n\
             ip link set mgmt0 up\n\
             ip route add default via {API_SERVER} dev mgmt0\n\
             ip route add default via {ROUTER_V6} dev eth0\n"
        );
    }
    Script {
        netns: machine.netns.clone(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan() -> Plan {
        Plan::new("beef", "/tmp/lab".into(), "/assets".into(), 3, 1).unwrap()
    }

    #[test]
    fn no_two_machines_share_a_name_an_address_or_a_mac() {
        let plan = Plan::new("beef", "/tmp/lab".into(), "/assets".into(), MOST, MOST).unwrap();
        let all: Vec<&Machine> = plan.machines().collect();
        let count = |key: fn(&Machine) -> String| {
            all.iter()
                .map(|machine| key(machine))
                .collect::<BTreeSet<_>>()
                .len()
        };
        assert_eq!(count(|machine| machine.ipv4.to_string()), all.len());
        assert_eq!(count(|machine| machine.ipv6.to_string()), all.len());
        assert_eq!(count(|machine| machine.mac.clone()), all.len());
        assert_eq!(count(|machine| machine.netns.clone()), all.len());
        assert_eq!(count(|machine| machine.port("eth0")), all.len());
    }

    #[test]
    fn no_interface_name_is_longer_than_the_kernel_allows() {
        let plan = Plan::new("beef", "/tmp/lab".into(), "/assets".into(), MOST, MOST).unwrap();
        assert!(
            plan.machines()
                .all(|machine| machine.port("eth0").len() <= 15)
        );
    }

    #[test]
    fn every_namespace_carries_the_identifier_of_its_lab() {
        let plan = plan();
        assert!(
            plan.namespaces()
                .iter()
                .all(|name| name.starts_with(&plan.namespace_prefix()))
        );
        assert!(plan.cgroup().ends_with(&plan.id));
    }

    #[test]
    fn a_lab_without_nodes_or_with_too_many_is_refused() {
        assert!(Plan::new("beef", "/tmp".into(), "/assets".into(), 0, 1).is_err());
        assert!(Plan::new("beef", "/tmp".into(), "/assets".into(), 1, MOST + 1).is_err());
    }

    #[test]
    fn pods_of_other_nodes_are_reached_over_the_data_segment_and_by_the_control_plane_over_management()
     {
        let pods = vec![
            (
                "node-1".to_owned(),
                vec!["10.244.0.0/24".to_owned(), "fd00:10:244::/64".to_owned()],
            ),
            ("node-2".to_owned(), vec!["10.244.1.0/24".to_owned()]),
        ];
        let scripts = plan().route_scripts(&pods);
        assert_eq!(
            scripts[0].text,
            "set -e\nip route replace 10.244.1.0/24 via 192.0.2.12 dev eth0\n"
        );
        assert!(
            scripts[1]
                .text
                .contains("ip route replace fd00:10:244::/64 via 2001:db8::10:1 dev eth0\n")
        );
        assert!(
            scripts[3]
                .text
                .contains("ip route replace 10.244.0.0/24 via 198.51.100.11 dev mgmt\n")
        );
        assert!(
            !scripts[3].text.contains("fd00"),
            "management speaks IPv4 only"
        );
    }

    #[test]
    fn a_client_has_no_way_into_management() {
        let plan = plan();
        let hub = &plan.scripts()[0].text;
        assert!(hub.contains("d-client-1") && !hub.contains("m-client-1"));
    }
}
