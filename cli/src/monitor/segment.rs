//! What every node hears and says on its segment: ARP and Neighbour Discovery about Landfall's addresses, and frames between
//! announcers. It is what `landfall-announcer frames` says, by [`super::looks`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use landfall_crds::{L2Node, LoadBalancerIP};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connect_to_watch;
use super::looks::{Looks, Wanted};
use crate::args::{self, Connection, LineOutput};
use crate::out::{End, Voice, complain, written};
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
    let words = |node: &str| words(interfaces.get(node), flags.beats);
    let named = flags.node.as_deref();
    let (sender, wish) = watch::channel(flags.address.map(|address| Wanted {
        addresses: [address].into(),
        without_address: false,
    }));
    // Held until this ends: it ends with it.
    let mut asking = JoinSet::new();
    if flags.address.is_none() {
        asking.spawn(follow_ours(client.clone(), sender));
    }
    let begun = Looks::<Frame>::begin(&client, named, "frames", words, wish.clone());
    let mut looks = begun.await?;
    let voice = Voice::start()?;
    let is_table = flags.output == LineOutput::Table;
    let mut is_heard = !is_table || voice.say(heading()).await;
    while is_heard {
        let (node, frame) = looks.next().await?;
        let line = Line { node, frame };
        if line.is_wanted(wish.borrow().as_ref()) {
            is_heard = voice.say(written(&line, flags.output, Line::draw)?).await;
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

/// What the program is called with on a node with these interfaces, or why it is not.
fn words(interfaces: Option<&Vec<String>>, beats: bool) -> Result<Vec<String>, String> {
    let interfaces = interfaces.ok_or("its announcer has said nothing of it so far")?;
    if interfaces.is_empty() {
        return Err("it announces on no interface".to_owned());
    }
    let mut words = vec![
        "frames".to_owned(),
        format!("--interface={}", interfaces.join(",")),
    ];
    words.extend(beats.then(|| "--beats".to_owned()));
    Ok(words)
}

/// Wants what is about addresses that Landfall has given or keeps, and about none; all of it before they are known, or where
/// they cannot be.
async fn follow_ours(client: Client, wanted: watch::Sender<Option<Wanted>>) {
    let records: Api<LoadBalancerIP> = Api::all(client);
    let mut is_said = false;
    loop {
        match records.list(&ListParams::default()).await {
            Ok(records) => {
                let addresses = records.iter().map(|record| record.spec.address.parse());
                let now = Some(Wanted {
                    addresses: addresses.filter_map(Result::ok).collect(),
                    without_address: true,
                });
                wanted.send_if_modified(|before| {
                    let is_new = *before != now;
                    *before = now;
                    is_new
                });
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
    /// Whether it is wanted; an announcer may have said it before it knew what is.
    fn is_wanted(&self, wanted: Option<&Wanted>) -> bool {
        let about = &self.frame.addresses;
        wanted.is_none_or(|wanted| {
            let none = about.is_empty() && wanted.without_address;
            none || about.iter().any(|each| wanted.addresses.contains(each))
        })
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
        let about = |text: &str, without_address| Wanted {
            addresses: [text.parse().unwrap()].into(),
            without_address,
        };
        let ours = about("192.0.2.200", true);
        let other = line(&json!({"addresses": ["192.0.2.1"]}));
        let own = line(&json!({}));
        assert!(own.is_wanted(Some(&ours)) && !other.is_wanted(Some(&ours)));
        assert!(other.is_wanted(None), "nobody knows which are");
        assert!(beat().is_wanted(Some(&ours)), "about none");
        let named = about("192.0.2.1", false);
        let wanted = [&other, &own, &beat()].map(|line| line.is_wanted(Some(&named)));
        assert_eq!(wanted, [true, false, false]);
        assert_eq!(
            serde_json::to_string(&named).unwrap(),
            r#"{"addresses":["192.0.2.1"],"withoutAddress":false}"#,
            "as the announcer reads it"
        );
    }

    #[test]
    fn a_node_is_looked_at_where_it_announces_and_not_where_it_does_not() {
        let names = ["eth0".to_owned(), "eth1".to_owned()];
        assert_eq!(
            words(Some(&names.to_vec()), true).unwrap(),
            ["frames", "--interface=eth0,eth1", "--beats"]
        );
        let none = words(Some(&Vec::new()), true).unwrap_err();
        assert_eq!(none, "it announces on no interface");
        assert!(words(None, true).is_err());
    }
}
