//! One line of a packet: what its announcer says of it, and how it is written. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use landfall_crds::L2Node;
use serde::{Deserialize, Serialize};

use super::packet::{Packet, unhex};
use crate::words::plain;

/// A packet as its node saw it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    time: String,
    interface: String,
    /// Another one that it was sent out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    verdict: String,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    /// Its beginning, two digits a byte.
    bytes: String,
}

/// The nodes by the Ethernet addresses of their interfaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<[u8; 6], String>);

impl Places {
    pub(super) fn of(nodes: &[L2Node]) -> Self {
        let mut places = BTreeMap::new();
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let interfaces = node.status.iter().flat_map(|status| &status.interfaces);
            for mac in interfaces.filter_map(|interface| mac(&interface.mac)) {
                places.insert(mac, name.clone());
            }
        }
        Self(places)
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = unhex(&text.replace(':', ""))?;
    bytes.try_into().ok()
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    node: String,
    #[serde(flatten)]
    sample: Sample,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    what: String,
    /// The node that it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_node: Option<String>,
    #[serde(skip)]
    ends: Vec<IpAddr>,
}

impl Line {
    pub(super) fn new(node: &str, sample: Sample, places: &Places) -> Self {
        let packet = Packet::read(&unhex(&sample.bytes).unwrap_or_default());
        let place = packet.mac.and_then(|mac| places.0.get(&mac));
        let ends = [packet.from, packet.to];
        Self {
            node: node.to_owned(),
            sample,
            from: packet.from.map(|end| end.to_string()),
            to: packet.to.map(|end| end.to_string()),
            to_node: place.filter(|place| *place != node).cloned(),
            ends: ends.into_iter().flatten().map(|end| end.address).collect(),
            what: packet.what,
        }
    }

    /// Whether this address is one of its ends, or any will do.
    pub(super) fn is_about(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.ends.contains(&address))
    }

    /// For people.
    pub(super) fn draw(&self) -> String {
        let sample = &self.sample;
        let ends = match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("{from} > {to} "),
            _ => String::new(),
        };
        let vlan = sample.vlan.map(|vlan| format!(" vlan {vlan}"));
        let out = sample.out.as_ref().map(|out| format!(" → {out}"));
        let node = self.to_node.as_ref().map(|node| format!(" → {node}"));
        let words = format!(
            "{ends}{} len {}{}{}{}",
            self.what,
            sample.length,
            vlan.unwrap_or_default(),
            out.unwrap_or_default(),
            node.unwrap_or_default(),
        );
        row([
            &plain(&sample.time),
            &plain(&self.node),
            &plain(&sample.interface),
            &plain(&sample.verdict),
            &plain(&words),
        ])
    }
}

/// What stands above the lines.
pub(super) fn heading() -> String {
    row(["TIME", "NODE", "INTERFACE", "VERDICT", "PACKET"])
}

fn row([time, node, interface, verdict, words]: [&str; 5]) -> String {
    format!("{time:<27}   {node:<12}   {interface:<10}   {verdict:<15}   {words}\n")
}

#[cfg(test)]
mod tests {
    use landfall_crds::{L2NodeInterface, L2NodeSpec, L2NodeStatus};

    use super::*;
    use crate::monitor::looks::Said;

    const SAID: &str = r#"{"time":"2026-11-27T12:00:01.123456Z","interface":"eth0","verdict":"directed","length":74,
        "bytes":"024c46000002024c46000001080045000028000040003f060000c6336407cb00710a9c4001bb0000000100000000500204000000"}"#;

    fn line(said: &str) -> Line {
        let mut node = L2Node::new(
            "node-2",
            L2NodeSpec {
                node_name: "node-2".to_owned(),
            },
        );
        node.status = Some(L2NodeStatus {
            interfaces: vec![L2NodeInterface {
                mac: "02:4c:46:00:00:02".to_owned(),
                ..L2NodeInterface::default()
            }],
            ..L2NodeStatus::default()
        });
        let Ok(Said::Seen(sample)) = serde_json::from_str(said) else {
            panic!("no packet");
        };
        Line::new("node-1", sample, &Places::of(&[node]))
    }

    #[test]
    fn a_packet_is_told_with_the_node_that_it_was_sent_to() {
        assert_eq!(
            line(SAID).draw(),
            "2026-11-27T12:00:01.123456Z   node-1         eth0         directed          \
             198.51.100.7:40000 > 203.0.113.10:443 TCP SYN len 74 → node-2\n"
        );
        let json = serde_json::to_value(line(SAID)).unwrap();
        assert_eq!(json["toNode"], "node-2");
        assert_eq!(json["from"], "198.51.100.7:40000");
        assert_eq!(json["verdict"], "directed");
    }

    #[test]
    fn what_became_of_packets_is_a_table() {
        let out = SAID.replace("\"verdict\"", "\"vlan\":100,\"out\":\"eth1\",\"verdict\"");
        let lost = SAID.replace("directed", "no_backend");
        let lines = [SAID, &out, &lost].map(|said| line(said).draw());
        insta::assert_snapshot!(heading() + &lines.concat());
    }

    #[test]
    fn a_packet_is_about_both_of_its_ends() {
        let line = line(SAID);
        for address in ["198.51.100.7", "203.0.113.10"] {
            assert!(line.is_about(address.parse().ok()));
        }
        assert!(line.is_about(None) && !line.is_about("203.0.113.11".parse().ok()));
    }

    #[test]
    fn what_was_missed_is_no_packet() {
        let said: Said<Sample> = serde_json::from_str(r#"{"missed":3}"#).unwrap();
        assert_eq!(said, Said::Missed { missed: 3 });
    }

    #[test]
    fn what_an_announcer_says_begins_no_line_of_its_own() {
        let said = SAID.replace("eth0", "eth0\\nnode-9");
        assert_eq!(line(&said).draw().lines().count(), 1);
    }
}
