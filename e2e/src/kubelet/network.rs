//! The CNI: a network namespace per Pod, a veth into the node, routes on both ends.
//!
//! What to run is a value (`commands`), so that it can be read and tested; running it is the rest. Both ends know each
//! other by permanent neighbour entries, so no address resolution happens on the link, and the Pod's gateway is a
//! link-local address that no node needs to own.

use std::{net::IpAddr, process::Stdio};

use anyhow::{Context as _, Result, bail};
use landfall_testbed::netns;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::records::NetworkRecord;

/// The same on every link: it is the only neighbour there.
const NODE_MAC: &str = "ee:ee:ee:ee:ee:ee";
const GATEWAY_V4: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::1";

/// `ip` commands by namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Commands {
    link: Vec<String>,
    pod: Vec<String>,
    node: Vec<String>,
}

fn commands(short: &str, network: &NetworkRecord, pod: &[IpAddr], node: &[IpAddr]) -> Commands {
    let NetworkRecord { netns, link, .. } = network;
    let mac = pod_mac(short);
    let mut commands = Commands {
        link: vec![format!(
            "link add {link} address {NODE_MAC} type veth peer name eth0 address {mac} netns {netns}"
        )],
        pod: vec!["link set lo up".into(), "link set eth0 up".into()],
        node: vec![format!("link set {link} up")],
    };
    for address in pod {
        let (gateway, bits, extra) = match address {
            IpAddr::V4(_) => (GATEWAY_V4, 32, ""),
            IpAddr::V6(_) => (GATEWAY_V6, 128, " nodad"),
        };
        commands.pod.extend([
            format!("addr add {address}/{bits} dev eth0{extra}"),
            format!("neigh replace {gateway} lladdr {NODE_MAC} dev eth0 nud permanent"),
            format!("route add default via {gateway} dev eth0 onlink"),
        ]);
        let own = node.iter().find(|own| own.is_ipv4() == address.is_ipv4());
        let source = own.map(|own| format!(" src {own}")).unwrap_or_default();
        commands.node.extend([
            format!("route replace {address}/{bits} dev {link}{source}"),
            format!("neigh replace {address} lladdr {mac} dev {link} nud permanent"),
        ]);
    }
    commands
}

/// A locally administered address from the Pod's short name.
fn pod_mac(short: &str) -> String {
    let digits: Vec<char> = short
        .chars()
        .chain(std::iter::repeat('0'))
        .take(8)
        .collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    format!("02:1f:{}", pairs.join(":"))
}

/// Names for a Pod's network.
pub(crate) fn names(prefix: &str, short: &str, node_netns: &str) -> NetworkRecord {
    NetworkRecord {
        netns: format!("{prefix}-{short}"),
        node_netns: node_netns.to_owned(),
        link: format!("lfv{short}"),
    }
}

/// Makes it, from nothing: whatever an earlier try left is removed first.
pub(crate) async fn make(
    short: &str,
    network: &NetworkRecord,
    pod: &[IpAddr],
    node: &[IpAddr],
) -> Result<()> {
    remove(network).await;
    ip(None, &[format!("netns add {}", network.netns)]).await?;
    let commands = commands(short, network, pod, node);
    ip(Some(&network.node_netns), &commands.link).await?;
    sysctls(
        &network.netns,
        "eth0",
        &[("ipv6", "accept_dad", "0"), ("ipv6", "accept_ra", "0")],
    )?;
    sysctls(
        &network.node_netns,
        &network.link,
        &[
            ("ipv6", "accept_dad", "0"),
            ("ipv6", "accept_ra", "0"),
            ("ipv6", "forwarding", "1"),
            ("ipv4", "forwarding", "1"),
            ("ipv4", "rp_filter", "0"),
        ],
    )?;
    ip(Some(&network.netns), &commands.pod).await?;
    ip(Some(&network.node_netns), &commands.node).await
}

/// Removes it; what is not there is not missed.
pub(crate) async fn remove(network: &NetworkRecord) {
    let link = format!("link del {}", network.link);
    let _ = ip(Some(&network.node_netns), &[link]).await;
    if netns::path(&network.netns).exists() {
        let _ = ip(None, &[format!("netns del {}", network.netns)]).await;
    }
}

/// Whether it is still there, as it would not be after the node's namespace was made anew.
pub(crate) async fn exists(network: &NetworkRecord) -> bool {
    let link = format!("link show {}", network.link);
    netns::path(&network.netns).exists() && ip(Some(&network.node_netns), &[link]).await.is_ok()
}

async fn ip(netns: Option<&str>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command.args(["-batch", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ip")?;
    let mut input = child.stdin.take().context("ip has no stdin")?;
    input
        .write_all((lines.join("\n") + "\n").as_bytes())
        .await?;
    drop(input);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        bail!("ip (in {}): {}", netns.unwrap_or("the host"), text.trim());
    }
    Ok(())
}

/// Writes settings of one interface inside a namespace.
fn sysctls(netns: &str, interface: &str, settings: &[(&str, &str, &str)]) -> Result<()> {
    settings.iter().try_for_each(|(family, name, value)| {
        netns::sysctl(netns, &format!("{family}/conf/{interface}/{name}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_pod_gets_both_families_on_both_ends() {
        let network = names("lab-pod", "0a1b2c3d", "lab-worker-1");
        let pod = ["10.244.1.2".parse().unwrap(), "fd00:1::2".parse().unwrap()];
        let node = [
            "192.0.2.11".parse().unwrap(),
            "2001:db8::11".parse().unwrap(),
        ];
        let commands = commands("0a1b2c3d", &network, &pod, &node);
        assert_eq!(
            commands.link,
            [
                "link add lfv0a1b2c3d address ee:ee:ee:ee:ee:ee type veth peer name eth0 address 02:1f:0a:1b:2c:3d netns lab-pod-0a1b2c3d"
            ]
        );
        assert_eq!(
            commands.pod[2..],
            [
                "addr add 10.244.1.2/32 dev eth0",
                "neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
                "route add default via 169.254.1.1 dev eth0 onlink",
                "addr add fd00:1::2/128 dev eth0 nodad",
                "neigh replace fe80::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
                "route add default via fe80::1 dev eth0 onlink",
            ]
        );
        assert_eq!(
            commands.node[1..],
            [
                "route replace 10.244.1.2/32 dev lfv0a1b2c3d src 192.0.2.11",
                "neigh replace 10.244.1.2 lladdr 02:1f:0a:1b:2c:3d dev lfv0a1b2c3d nud permanent",
                "route replace fd00:1::2/128 dev lfv0a1b2c3d src 2001:db8::11",
                "neigh replace fd00:1::2 lladdr 02:1f:0a:1b:2c:3d dev lfv0a1b2c3d nud permanent",
            ]
        );
    }

    #[test]
    fn interface_names_are_short_enough() {
        assert!(names("p", "0a1b2c3d", "n").link.len() <= 15);
    }
}
