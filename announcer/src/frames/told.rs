//! A frame, told. Pure.

use std::net::IpAddr;

use landfall_wire::arp::{Arp, Operation};
use landfall_wire::ethernet::{ARP, Frame, IPV6, PEERS};
use landfall_wire::ndp::{Message, Ndp};

use landfall_wire::Mac;
use landfall_wire::peers::{Beat, Body, ClusterId, Envelope, Move, Suspect, Title};
use serde::Serialize;

/// Where an announcer's frame has its cluster.
const CLUSTER: std::ops::Range<usize> = 18..26;

/// A frame, as far as anybody is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// From whom, and to whom.
    pub(super) from: Mac,
    pub(super) to: Mac,
    /// `ARP`, `NDP` or `peers`.
    pub(super) protocol: &'static str,
    /// What kind of frame it is, in a word.
    pub(super) kind: &'static str,
    /// The addresses that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) addresses: Vec<IpAddr>,
    /// The node that it names as its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    /// What it says, in words.
    pub(super) says: String,
}

impl Told {
    pub(super) fn is_beat(&self) -> bool {
        self.kind == "beat"
    }
}

/// What a frame says; none, if it is not one of those, or is broken.
pub(super) fn told(bytes: &[u8]) -> Option<Told> {
    let frame = Frame::parse(bytes).ok()?;
    let told = |protocol, kind, addresses, says| Told {
        from: frame.source,
        to: frame.destination,
        protocol,
        kind,
        addresses,
        node: None,
        says,
    };
    match frame.ether_type {
        ARP => {
            let (kind, addresses, says) = arp(&Arp::parse(frame.payload).ok()?);
            Some(told("ARP", kind, addresses, says))
        }
        IPV6 => {
            let (kind, addresses, says) = ndp(&Ndp::parse(frame.payload).ok()?);
            Some(told("NDP", kind, addresses, says))
        }
        PEERS => {
            // Whoever it is for, and of whatever cluster.
            let cluster = ClusterId(bytes.get(CLUSTER)?.try_into().ok()?);
            let envelope = Envelope::open(bytes, frame.destination, cluster).ok()?;
            let said = envelope.unverified().ok()?;
            let (kind, addresses, says) = body(&said.body);
            Some(Told {
                node: Some(said.node.to_owned()),
                ..told("peers", kind, addresses, says)
            })
        }
        _ => None,
    }
}

fn arp(arp: &Arp) -> (&'static str, Vec<IpAddr>, String) {
    let Arp {
        operation,
        sender_mac,
        sender,
        target,
        ..
    } = arp;
    let about = vec![IpAddr::V4(*target)];
    if sender == target {
        let says = format!("{sender} is at {sender_mac}, and nobody asked");
        return ("announcement", about, says);
    }
    match operation {
        Operation::Request if sender.is_unspecified() => {
            ("probe", about, format!("has anybody {target}?"))
        }
        Operation::Request => (
            "question",
            about,
            format!("who has {target}? asks {sender}"),
        ),
        Operation::Reply => {
            let says = format!("{sender} is at {sender_mac}, to {target}");
            ("answer", vec![IpAddr::V4(*sender)], says)
        }
    }
}

fn ndp(ndp: &Ndp) -> (&'static str, Vec<IpAddr>, String) {
    let Ndp { source, target, .. } = ndp;
    let about = vec![IpAddr::V6(*target)];
    match ndp.message {
        Message::Solicitation { .. } if source.is_unspecified() => {
            ("probe", about, format!("has anybody {target}?"))
        }
        Message::Solicitation { .. } => (
            "question",
            about,
            format!("who has {target}? asks {source}"),
        ),
        Message::Advertisement { solicited, mac, .. } => {
            let at = mac.map_or_else(|| "its sender".to_owned(), |mac| mac.to_string());
            match solicited {
                true => {
                    let says = format!("{target} is at {at}, to {}", ndp.destination);
                    ("answer", about, says)
                }
                false => {
                    let says = format!("{target} is at {at}, and nobody asked");
                    ("announcement", about, says)
                }
            }
        }
    }
}

fn body(body: &Body<'_>) -> (&'static str, Vec<IpAddr>, String) {
    match body {
        Body::Beat(beat) => ("beat", Vec::new(), beats(beat)),
        Body::Suspect(silent) => (
            "suspect",
            Vec::new(),
            format!("does not hear {}", nodes(silent)),
        ),
        Body::Veto(heard) => ("veto", Vec::new(), format!("hears {}", nodes(heard))),
        Body::Fenced(fenced) => {
            let writing = if fenced.written { ", in writing" } else { "" };
            let says = format!(
                "{}'s session is ended by {}{writing}",
                fenced.node, fenced.by
            );
            ("fenced", Vec::new(), says)
        }
        Body::Claims(claims) => {
            let addresses: Vec<IpAddr> = claims
                .iter()
                .map(|Title { address, .. }| *address)
                .collect();
            let says = format!("answers for {}", listed(&addresses));
            ("claims", addresses, says)
        }
        Body::Moves(moves) => {
            let addresses = moved(moves);
            let says = format!("hands over {}", listed(&addresses));
            ("moves", addresses, says)
        }
        Body::Ceded(moves) => {
            let addresses = moved(moves);
            let says = format!("answers no more for {}", listed(&addresses));
            ("ceded", addresses, says)
        }
    }
}

fn beats(beat: &Beat<'_>) -> String {
    let flags = [
        (!beat.flags.has_api, "without the API server"),
        (beat.flags.draining, "drained"),
        (beat.flags.leaving, "leaving"),
        (!beat.flags.programmed, "its director not in order"),
        (beat.flags.few_hear, "heard by few"),
    ];
    let flags = flags.into_iter().filter(|(holds, _)| *holds);
    let flags: String = flags.map(|(_, words)| format!(", {words}")).collect();
    let heard = beat.heard.iter().filter(|heard| heard.sequence > 0).count();
    format!("number {}, hears {heard}{flags}", beat.sequence)
}

fn nodes(suspects: &[Suspect<'_>]) -> String {
    let names: Vec<&str> = suspects.iter().map(|suspect| suspect.node).collect();
    names.join(", ")
}

fn moved(moves: &[Move]) -> Vec<IpAddr> {
    moves.iter().map(|Move { address, .. }| *address).collect()
}

fn listed(addresses: &[IpAddr]) -> String {
    let words: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use landfall_wire::peers::Fenced;

    use super::*;

    const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn says(operation: Operation, sender: &str, target: &str) -> (String, String, Vec<IpAddr>) {
        let packet = Arp {
            operation,
            sender_mac: STATION,
            sender: sender.parse().unwrap(),
            target_mac: Mac::ZERO,
            target: target.parse().unwrap(),
        };
        let mut out = landfall_wire::buffer();
        let length = packet.emit(Mac::BROADCAST, &mut out);
        let told = told(&out[..length]).unwrap();
        assert_eq!((told.protocol, told.from), ("ARP", STATION));
        (told.kind.to_owned(), told.says, told.addresses)
    }

    #[test]
    fn a_question_an_answer_a_probe_and_an_announcement_are_told_apart() {
        let vip: IpAddr = "192.0.2.200".parse().unwrap();
        let words = |kind: &str, says: &str| (kind.to_owned(), says.to_owned(), vec![vip]);
        assert_eq!(
            says(Operation::Request, "192.0.2.101", "192.0.2.200"),
            words("question", "who has 192.0.2.200? asks 192.0.2.101")
        );
        assert_eq!(
            says(Operation::Reply, "192.0.2.200", "192.0.2.101"),
            words(
                "answer",
                "192.0.2.200 is at 02:00:00:00:00:01, to 192.0.2.101"
            )
        );
        assert_eq!(
            says(Operation::Request, "0.0.0.0", "192.0.2.200"),
            words("probe", "has anybody 192.0.2.200?")
        );
        for operation in [Operation::Request, Operation::Reply] {
            assert_eq!(
                says(operation, "192.0.2.200", "192.0.2.200"),
                words(
                    "announcement",
                    "192.0.2.200 is at 02:00:00:00:00:01, and nobody asked"
                )
            );
        }
    }

    #[test]
    fn of_announcers_frames_the_end_of_a_session_and_claims_are_told() {
        let fenced = Body::Fenced(Fenced {
            node: "node-1",
            session: "s",
            by: "node-2",
            written: true,
        });
        let words = |kind, addresses, says: &str| (kind, addresses, says.to_owned());
        assert_eq!(
            body(&fenced),
            words(
                "fenced",
                vec![],
                "node-1's session is ended by node-2, in writing"
            )
        );
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let claims = Body::Claims(vec![Title {
            address,
            transitions: 3,
            written: false,
        }]);
        assert_eq!(
            body(&claims),
            words("claims", vec![address], "answers for 2001:db8::1")
        );
    }

    #[test]
    fn whatever_is_none_of_those_is_not_told_of() {
        assert_eq!(told(&[0; 60]), None);
        let mut cut = [0; 20];
        cut[12..14].copy_from_slice(&PEERS.to_be_bytes());
        assert_eq!(told(&cut), None);
    }
}
