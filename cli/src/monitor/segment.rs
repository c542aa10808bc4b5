//! What every node hears and says on its segment: ARP and Neighbour Discovery about Landfall's addresses, and frames between
//! announcers. It is what `landfall-announcer frames` says, by [`super::looks`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::{L2Node, LoadBalancerIP};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::connect_to_watch;
use super::looks::Looks;
use crate::args::{self, Connection, LineOutput};
use crate::out::{End, Voice, complain};
use crate::words::plain;

/// How often it is asked which addresses there are.
const ADDRESSES: Duration = Duration::from_secs(5);

/// Tells frames until nobody reads.
///
/// # Errors
/// When the API server cannot be asked, or no node shows its frames.
pub(super) async fn tell(connection: &Connection, flags: &args::Monitor) -> anyhow::Result<End> {
    let client = connect_to_watch(connection).await?.client;
    let nodes: Api<L2Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let interfaces = interfaces(&nodes.context("listing the nodes' interfaces")?.items);
    let words = |node: &str| words(interfaces.get(node)?, flags.beats);
    let named = flags.node.as_deref();
    let mut looks = Looks::<Frame>::begin(&client, named, "frames", words).await?;
    let ours = Ours::default();
    // Held until this ends: it ends with it.
    let mut asking = JoinSet::new();
    asking.spawn(ours.clone().follow(client));
    let voice = Voice::start()?;
    let is_table = flags.output == LineOutput::Table;
    let mut is_heard = !is_table || voice.say(heading()).await;
    while is_heard {
        let (node, frame) = looks.next().await?;
        let line = Line { node, frame };
        if line.is_about(flags.address, &ours.0.read()) {
            let text = match flags.output {
                LineOutput::Table => line.draw(),
                LineOutput::Json => format!("{}\n", serde_json::to_string(&line)?),
            };
            is_heard = voice.say(text).await;
        }
    }
    Ok(End::Well)
}

/// Node → the interfaces that it announces on.
fn interfaces(nodes: &[L2Node]) -> BTreeMap<String, Vec<String>> {
    let each = nodes.iter().map(|node| {
        let interfaces = node.status.iter().flat_map(|status| &status.interfaces);
        let names = interfaces.map(|interface| interface.name.clone());
        (node.name_any(), names.collect())
    });
    each.collect()
}

/// What the program is called with on a node with these interfaces.
fn words(interfaces: &[String], beats: bool) -> Option<Vec<String>> {
    if interfaces.is_empty() {
        return None;
    }
    let mut words = vec![
        "frames".to_owned(),
        format!("--interface={}", interfaces.join(",")),
    ];
    words.extend(beats.then(|| "--beats".to_owned()));
    Some(words)
}

/// The addresses that Landfall has given or keeps; none before they are known, or where they cannot be.
#[derive(Clone, Debug, Default)]
struct Ours(Arc<RwLock<Option<BTreeSet<IpAddr>>>>);

impl Ours {
    async fn follow(self, client: Client) {
        let records: Api<LoadBalancerIP> = Api::all(client);
        let mut is_said = false;
        loop {
            match records.list(&ListParams::default()).await {
                Ok(records) => {
                    let addresses = records.iter().map(|record| record.spec.address.parse());
                    *self.0.write() = Some(addresses.filter_map(Result::ok).collect());
                }
                Err(error) if !is_said => {
                    is_said = true;
                    complain!(
                        "every address is told of, for it is not known which are Landfall's: {}",
                        plain(&error.to_string())
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(ADDRESSES).await;
        }
    }
}

/// A frame as an announcer's container tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    time: String,
    interface: String,
    /// Whether the node sent it.
    sent: bool,
    from: String,
    to: String,
    protocol: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    /// The node that it names as its sender.
    #[serde(
        default,
        rename = "sender",
        alias = "node",
        skip_serializing_if = "Option::is_none"
    )]
    sender: Option<String>,
    says: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    node: String,
    #[serde(flatten)]
    frame: Frame,
}

impl Line {
    /// Whether it is about this address; without one, about one of these, or of none.
    fn is_about(&self, address: Option<IpAddr>, ours: &Option<BTreeSet<IpAddr>>) -> bool {
        let about = &self.frame.addresses;
        match (address, ours) {
            (Some(address), _) => about.contains(&address),
            (None, Some(ours)) => about.is_empty() || about.iter().any(|each| ours.contains(each)),
            (None, None) => true,
        }
    }

    /// For people.
    fn draw(&self) -> String {
        let frame = &self.frame;
        let way = if frame.sent { "→" } else { "←" };
        let says = match &frame.sender {
            Some(sender) => format!("{sender}: {}", frame.says),
            None => frame.says.clone(),
        };
        let protocol = match frame.protocol.as_str() {
            "peers" => "",
            protocol => protocol,
        };
        let kind = format!("{protocol} {}", frame.kind);
        row([
            &plain(&frame.time),
            &plain(&self.node),
            &plain(&frame.interface),
            way,
            &plain(kind.trim()),
            &plain(&frame.from),
            &plain(&says),
        ])
    }
}

/// What stands above the lines.
fn heading() -> String {
    row(["TIME", "NODE", "INTERFACE", " ", "FRAME", "FROM", "SAYS"])
}

fn row([time, node, interface, way, kind, from, says]: [&str; 7]) -> String {
    format!("{time:<27}   {node:<12}   {interface:<10} {way} {kind:<16}   {from:<17}   {says}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::monitor::looks::Said;

    fn line(more: &Value) -> Line {
        let mut said = json!({
            "time": "2026-11-28T05:00:00.000001Z", "interface": "eth0", "sent": true, "from": "02:00:00:00:00:01",
            "to": "02:00:00:00:00:09", "protocol": "ARP", "kind": "answer", "addresses": ["192.0.2.200"],
            "says": "192.0.2.200 is at 02:00:00:00:00:01, to 192.0.2.101"
        });
        for (name, value) in more.as_object().unwrap() {
            said[name] = value.clone();
        }
        let Said::Seen(frame) = serde_json::from_value(said).unwrap() else {
            panic!("no frame");
        };
        Line {
            node: "node-1".to_owned(),
            frame,
        }
    }

    fn beat() -> Line {
        line(
            &json!({"sent": false, "protocol": "peers", "kind": "beat", "addresses": [], "node": "node-2",
            "says": "number 7, hears 2"}),
        )
    }

    #[test]
    fn an_answer_and_a_heartbeat_are_a_line_each() {
        let text: String = [heading(), line(&json!({})).draw(), beat().draw()].concat();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn for_programs_the_node_that_looked_and_the_sender_are_two() {
        let told = serde_json::to_value(beat()).unwrap();
        assert_eq!(
            (&told["node"], &told["sender"]),
            (&json!("node-1"), &json!("node-2"))
        );
        assert_eq!(told["protocol"], "peers");
    }

    #[test]
    fn of_all_that_is_asked_only_what_is_about_an_address_of_ours_is_told() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let ours = Some(BTreeSet::from([address("192.0.2.200")]));
        let other = line(&json!({"addresses": ["192.0.2.1"]}));
        let own = line(&json!({}));
        assert!(own.is_about(None, &ours) && !other.is_about(None, &ours));
        assert!(other.is_about(None, &None), "nobody knows which are");
        assert!(beat().is_about(None, &ours), "about none");
        let named = Some(address("192.0.2.1"));
        assert!(
            other.is_about(named, &ours)
                && !own.is_about(named, &ours)
                && !beat().is_about(named, &ours)
        );
    }

    #[test]
    fn a_node_is_looked_at_where_it_announces_and_not_where_it_does_not() {
        let names = ["eth0".to_owned(), "eth1".to_owned()];
        assert_eq!(
            words(&names, true).unwrap(),
            ["frames", "--interface=eth0,eth1", "--beats"]
        );
        assert_eq!(words(&[], true), None);
    }
}
