//! What was seen, judged. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use landfall_probe::report::{Tally, Window};

use super::report::Outcome;

/// Of a hundred datagrams so many may be lost: no network promises more.
const MAY_BE_LOST: u64 = 1;
/// Why addresses move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// It is announced before it happens. Without XDP the connection that is open just then is cut: the new owner's kernel
    /// does not know it.
    Planned { by_xdp: bool },
    /// The owner's announcer is deleted: the process hands over, and may not get to it.
    Restart,
    /// The owner's announcer is killed: it hands nothing over, and its peers miss its heartbeats. What it put into the kernel
    /// goes on meanwhile.
    Failover,
}

/// The longest silence of what is announced before it happens, in milliseconds.
const PLANNED: u64 = 1_000;
/// The client opens a connection to each address every tenth of a second, and closes it at once: hardly ever are two open.
const OPEN: u64 = 1;

impl Move {
    /// The longest silence, in milliseconds.
    fn most(self) -> u64 {
        match self {
            Self::Planned { .. } => PLANNED,
            Self::Restart => 3_000,
            Self::Failover => 2_000,
        }
    }
}

/// An address, and what became of questions to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whom its record names.
    pub(super) owner: String,
    /// The client's own address.
    pub(super) own: IpAddr,
    pub(super) window: Window,
}

/// Every fault of every address, or else what is well.
fn judged(faults: Vec<String>, well: impl FnOnce() -> String) -> Outcome {
    match faults.is_empty() {
        true => Outcome::passed(well()),
        false => Outcome::failed(faults.join("; ")),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// Whether the owner answers who has the address, and nobody else does. `nodes` are known by the Ethernet addresses they
/// announce with.
pub(super) fn who(seen: &[Seen], nodes: &BTreeMap<String, String>) -> Outcome {
    let mut faults = Vec::new();
    for Seen { owner, window, .. } in seen {
        let vip = window.vip;
        if window.macs.is_empty() {
            faults.push(format!(
                "nobody answers for {vip}, asked {} times",
                window.asked_who
            ));
        }
        for mac in window.macs.keys() {
            match nodes.get(mac) {
                Some(node) if node == owner => {}
                Some(node) => {
                    faults.push(format!("node {node} answers for {vip}, which {owner} owns"))
                }
                None => faults.push(format!("{mac} answers for {vip}, and is no node's")),
            }
        }
        // Two interfaces of the owner on one segment.
        if window.macs.len() > 1 && faults.is_empty() {
            faults.push(format!(
                "{owner} answers for {vip} with several Ethernet addresses: {}",
                join(window.macs.keys().cloned())
            ));
        }
    }
    judged(faults, || {
        join(
            seen.iter()
                .map(|seen| format!("{} is at {} alone", seen.window.vip, seen.owner)),
        )
    })
}

/// Whether every new connection was answered.
pub(super) fn tcp(seen: &[Seen]) -> Outcome {
    let mut faults = Vec::new();
    for Seen { window, .. } in seen {
        faults.extend(connections(window));
    }
    judged(faults, || {
        answered(seen, "connections", |window| window.tcp)
    })
}

fn connections(window: &Window) -> Option<String> {
    let Tally {
        answered,
        refused,
        lost,
    } = window.tcp;
    (answered == 0 || refused + lost > 0).then(|| {
        format!(
            "of {} connections to {} {refused} were refused and {lost} got no answer",
            window.tcp.asked(),
            window.vip
        )
    })
}

/// Whether datagrams were answered.
pub(super) fn udp(seen: &[Seen]) -> Outcome {
    let faults = seen.iter().filter_map(|seen| {
        let (tally, vip) = (seen.window.udp, seen.window.vip);
        (tally.answered == 0 || tally.lost * 100 > tally.asked() * MAY_BE_LOST).then(|| {
            format!(
                "of {} datagrams to {vip} {} got no answer",
                tally.asked(),
                tally.lost
            )
        })
    });
    judged(faults.collect(), || {
        answered(seen, "datagrams", |window| window.udp)
    })
}

fn answered(seen: &[Seen], what: &str, tally: impl Fn(&Window) -> Tally) -> String {
    let words = seen.iter().map(|seen| {
        let tally = tally(&seen.window);
        format!(
            "{} of {} to {}",
            tally.answered,
            tally.asked(),
            seen.window.vip
        )
    });
    format!("{what} answered: {}", join(words))
}

/// Whether backends saw the client's own address, and no other.
pub(super) fn client_address(seen: &[Seen]) -> Outcome {
    let mut faults = Vec::new();
    for Seen { own, window, .. } in seen {
        if window.clients.is_empty() {
            faults.push(format!("no backend of {} said whom it saw", window.vip));
        }
        let own = own.to_string();
        for client in window.clients.keys().filter(|client| **client != own) {
            faults.push(format!(
                "backends of {} saw {client} instead of {own}",
                window.vip
            ));
        }
    }
    judged(faults, || {
        format!(
            "backends saw {}",
            join(seen.iter().map(|seen| seen.own.to_string()))
        )
    })
}

/// Whether the owner's XDP programs carried what was asked meanwhile. The counters are those of all addresses, so that
/// they may count more.
pub(super) fn xdp(owner: &str, before: u64, after: u64, asked: u64) -> Outcome {
    let counted = after.saturating_sub(before);
    if asked == 0 {
        Outcome::failed("nothing was asked meanwhile")
    } else if counted < asked {
        Outcome::failed(format!(
            "the programs on {owner} counted {counted} packets while {asked} questions were answered: the rest took \
             the kernel's path"
        ))
    } else {
        Outcome::passed(format!(
            "the programs on {owner} counted {counted} packets while {asked} questions were answered"
        ))
    }
}

/// The packets that XDP programs directed and delivered, as the metrics of an announcer have them; nothing where they
/// have no such counter.
pub(super) fn carried(metrics: &str) -> Option<u64> {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("landfall_director_packets_total{")
            && (line.contains("\"directed") || line.contains("\"delivered"))
    });
    let counts: Vec<u64> = lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// Whether replacing all backends lost no connection. `before` are the Pods that there were.
pub(super) fn rolling_update(seen: &[Seen], before: &BTreeSet<String>) -> Outcome {
    let mut faults = lost(seen, PLANNED);
    for Seen { window, .. } in seen {
        if window.pods.keys().all(|pod| before.contains(pod)) {
            faults.push(format!("no new backend answered for {}", window.vip));
        }
    }
    judged(faults, || {
        format!(
            "{}; longest silence {} ms",
            answered(seen, "connections", |window| window.tcp),
            longest(seen)
        )
    })
}

/// Whether addresses moved as they should. `to` is who has each afterwards, in the same order.
pub(super) fn moved(seen: &[Seen], from: &str, to: &[String], by: Move) -> Outcome {
    let mut faults = match by {
        // What was being opened when an announcer went may be lost.
        Move::Restart | Move::Failover => too_long(seen, by.most()),
        Move::Planned { by_xdp: true } => lost(seen, by.most()),
        Move::Planned { by_xdp: false } => {
            let is_fault = |seen: &&Seen| {
                let window = &seen.window;
                window.tcp.answered == 0 || broken(window) > OPEN
            };
            let many = seen.iter().filter(is_fault);
            let mut faults: Vec<String> =
                many.filter_map(|seen| connections(&seen.window)).collect();
            faults.extend(too_long(seen, by.most()));
            faults
        }
    };
    for (Seen { owner, window, .. }, to) in seen.iter().zip(to) {
        if owner == from && to == from {
            faults.push(format!("{} is still at {from}", window.vip));
        }
    }
    judged(faults, || {
        let moves = seen.iter().zip(to);
        let moves =
            moves.map(|(seen, to)| format!("{} from {} to {to}", seen.window.vip, seen.owner));
        let cut: u64 = match by {
            Move::Planned { .. } => seen.iter().map(|seen| broken(&seen.window)).sum(),
            Move::Restart | Move::Failover => 0,
        };
        let cut = match cut {
            0 => String::new(),
            cut => format!("; {cut} open just then cut, as always without loadBalancing: XDP"),
        };
        format!("{}; longest silence {} ms{cut}", join(moves), longest(seen))
    })
}

/// Connections that came to nothing.
fn broken(window: &Window) -> u64 {
    window.tcp.refused + window.tcp.lost
}

fn lost(seen: &[Seen], limit: u64) -> Vec<String> {
    let mut faults: Vec<String> = seen
        .iter()
        .filter_map(|seen| connections(&seen.window))
        .collect();
    faults.extend(too_long(seen, limit));
    faults
}

fn too_long(seen: &[Seen], limit: u64) -> Vec<String> {
    let silent = seen.iter().filter(|seen| seen.window.silence_ms > limit);
    let words = silent.map(|seen| {
        let window = &seen.window;
        format!(
            "{} was silent for {} ms, {limit} ms may be",
            window.vip, window.silence_ms
        )
    });
    words.collect()
}

fn longest(seen: &[Seen]) -> u64 {
    let silences = seen.iter().map(|seen| seen.window.silence_ms);
    silences.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS_MAC: &str = "02:00:00:00:00:01";

    fn well() -> Seen {
        let mut window = Window::new("192.0.2.200".parse().unwrap());
        window.tcp.answered = 50;
        window.udp.answered = 250;
        window.silence_ms = 21;
        window.asked_who = 10;
        window.macs.insert(OWNERS_MAC.to_owned(), 10);
        window.pods.insert("new".to_owned(), 300);
        window.clients.insert("192.0.2.9".to_owned(), 300);
        Seen {
            owner: "node-1".to_owned(),
            own: "192.0.2.9".parse().unwrap(),
            window,
        }
    }

    fn but(change: impl Fn(&mut Seen)) -> Vec<Seen> {
        let mut seen = well();
        change(&mut seen);
        vec![seen]
    }

    fn nodes() -> BTreeMap<String, String> {
        let pairs = [(OWNERS_MAC, "node-1"), ("02:00:00:00:00:02", "node-2")];
        pairs
            .map(|(mac, node)| (mac.to_owned(), node.to_owned()))
            .into()
    }

    #[test]
    fn what_is_well_passes_every_judge() {
        let seen = [well()];
        let to = ["node-2".to_owned()];
        let outcomes = [
            who(&seen, &nodes()),
            tcp(&seen),
            udp(&seen),
            client_address(&seen),
            xdp("node-1", 7, 307, 300),
            rolling_update(&seen, &["old".to_owned()].into()),
            moved(&seen, "node-1", &to, Move::Planned { by_xdp: true }),
            moved(
                &but(|seen| seen.window.tcp.refused = 1),
                "node-1",
                &to,
                Move::Planned { by_xdp: false },
            ),
            moved(&seen, "node-1", &to, Move::Restart),
            moved(&seen, "node-1", &to, Move::Failover),
        ];
        insta::assert_yaml_snapshot!(outcomes);
    }

    #[test]
    fn every_fault_is_named_with_its_address() {
        let stays = ["node-1".to_owned()];
        let outcomes = [
            who(&but(|seen| seen.window.macs.clear()), &nodes()),
            who(
                &but(|seen| {
                    seen.window.macs.insert("02:00:00:00:00:02".to_owned(), 1);
                }),
                &nodes(),
            ),
            who(
                &but(|seen| {
                    seen.window.macs.insert("02:00:00:00:00:0f".to_owned(), 1);
                }),
                &nodes(),
            ),
            tcp(&but(|seen| seen.window.tcp.refused = 1)),
            tcp(&but(|seen| seen.window.tcp = Tally::default())),
            udp(&but(|seen| seen.window.udp.lost = 30)),
            udp(&but(|seen| seen.window.udp = Tally::default())),
            client_address(&but(|seen| {
                seen.window.clients.insert("10.0.0.1".to_owned(), 1);
            })),
            client_address(&but(|seen| seen.window.clients.clear())),
            xdp("node-1", 7, 8, 300),
            xdp("node-1", 7, 8, 0),
            rolling_update(&[well()], &["new".to_owned()].into()),
            rolling_update(&but(|seen| seen.window.tcp.lost = 2), &BTreeSet::new()),
            moved(&[well()], "node-1", &stays, Move::Planned { by_xdp: true }),
            moved(
                &but(|seen| seen.window.tcp.refused = 1),
                "node-1",
                &["node-2".to_owned()],
                Move::Planned { by_xdp: true },
            ),
            moved(
                &but(|seen| seen.window.tcp.refused = 2),
                "node-1",
                &["node-2".to_owned()],
                Move::Planned { by_xdp: false },
            ),
            moved(
                &but(|seen| seen.window.silence_ms = 1_001),
                "node-1",
                &["node-2".to_owned()],
                Move::Planned { by_xdp: true },
            ),
            moved(
                &but(|seen| seen.window.silence_ms = 3_001),
                "node-1",
                &["node-2".to_owned()],
                Move::Restart,
            ),
            moved(
                &but(|seen| seen.window.silence_ms = 2_001),
                "node-1",
                &["node-2".to_owned()],
                Move::Failover,
            ),
        ];
        assert!(outcomes.iter().all(Outcome::is_failed), "{outcomes:#?}");
        insta::assert_yaml_snapshot!(outcomes);
    }

    #[test]
    fn one_datagram_of_a_hundred_may_be_lost() {
        assert!(!udp(&but(|seen| seen.window.udp.lost = 2)).is_failed());
    }

    #[test]
    fn packets_are_counted_that_xdp_directed_or_delivered_and_no_others() {
        let metrics = "landfall_director_packets_total{verdict=\"directed\"} 3\n\
            landfall_director_packets_total{verdict=\"delivered\"} 4\n\
            landfall_director_packets_total{verdict=\"pass_not_frontend\"} 90\n";
        assert_eq!(carried(metrics), Some(7));
        assert_eq!(carried("landfall_addresses_owned 3\n"), None);
    }
}
