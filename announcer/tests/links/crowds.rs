//! Who is heard in a flood of questions from Ethernet addresses that nobody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use landfall_announcer::link::{PacketSocket, Protocol};

use super::*;
use crate::segment::{Segment, enter};

/// A host that asks as fast as it can, from another source every time, until this is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    began: Instant,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    fn of(segment: &Segment, host: &str, mut question: Vec<u8>) -> Self {
        // Neither a bridge that learns them all nor the tool of the one who asks is what is tried here.
        segment.bridge(
            "switch",
            &format!("link set dev p-{host} learning off isolated on"),
        );
        let mut flood = Self {
            stop: Arc::default(),
            sent: Arc::default(),
            began: Instant::now(),
            sender: None,
        };
        let (stop, sent) = (Arc::clone(&flood.stop), Arc::clone(&flood.sent));
        let (namespace, arp) = (segment.name(host), question[12..14] == [8, 6]);
        flood.sender = Some(std::thread::spawn(move || {
            enter(&namespace);
            let eth0 = nix::net::if_::if_nametoindex("eth0").unwrap();
            let socket = PacketSocket::open(eth0, Protocol::Arp).unwrap();
            for number in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
                let source = [2, 1, a, b, c, d];
                question[6..12].copy_from_slice(&source);
                if arp {
                    question[22..28].copy_from_slice(&source);
                }
                if socket.send(&question).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        flood
    }

    /// Longer than a host waits before it asks again.
    async fn under_way(&self) {
        let long = Duration::from_secs(1);
        eventually("the flood is there", || {
            self.began.elapsed() > long && self.sent.load(Ordering::Relaxed) > 20_000
        })
        .await;
    }

    /// Questions a second.
    fn rate(&self) -> f64 {
        self.sent.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().unwrap();
        }
    }
}

/// Asks everybody, once a second, until so many answers have come or there is no time for more: how many questions that
/// took, and how many answers came.
async fn arping(segment: &Segment, host: &str, answers: u32) -> (u32, u32) {
    segment.bridge("switch", &format!("link set dev p-{host} isolated on"));
    let most = answers + 2;
    let command = format!("arping -b -c {answers} -w {most} -I eth0 {V4}");
    let said = text(&segment.exec(host, &command).await);
    let number = |word: &str| {
        let rest = said.split_once(word).expect(&said).1;
        rest.split_once(' ').unwrap().0.parse().unwrap()
    };
    (number("Sent "), number("Received "))
}

/// A node with the eBPF filter and both addresses on a segment with one more host.
async fn node_in_a_crowd(test: &str, segment: &Segment) -> Option<Node> {
    segment.host("crowd", 99);
    let mut node = Node::with(Settings {
        pace: said_once(),
        ..Settings::default()
    })
    .await;
    let eth0 = node.link("eth0").await;
    node.own_quietly(eth0, &[V4, V6]).await;
    if !node.responder.counters().by_map {
        landfall_testbed::skipped(test, "eBPF");
        return None;
    }
    Some(node)
}

#[test]
fn who_asked_before_a_flood_is_answered_in_it_and_a_newcomer_when_it_asks_again() {
    let test = "who_asked_before_a_flood_is_answered_in_it_and_a_newcomer_when_it_asks_again";
    on_a_segment(test, async |segment| {
        segment.host("late", 98);
        let Some(node) = node_in_a_crowd(test, &segment).await else {
            return;
        };
        assert_eq!(arping(&segment, "client", 2).await, (2, 2));
        let flood = Flood::of(&segment, "crowd", arp_request(foreign("other")));
        flood.under_way().await;
        let (known, newcomer) =
            tokio::join!(arping(&segment, "client", 3), arping(&segment, "late", 3));
        let rate = flood.rate();
        println!("{rate:.0} questions a second beside: {known:?}, newcomer {newcomer:?}");
        assert_eq!(known, (3, 3), "at {rate} a second");
        // At the latest when it asks again; one in ten is pushed out meanwhile by so many.
        assert!(newcomer.1 >= 2, "{newcomer:?} at {rate} a second");
        assert_eq!(node.responder.counters().interfaces[0].dropped, 0);
    });
}

#[test]
fn a_question_to_our_own_address_is_answered_in_a_flood() {
    let test = "a_question_to_our_own_address_is_answered_in_a_flood";
    on_a_segment(test, async |segment| {
        let Some(_node) = node_in_a_crowd(test, &segment).await else {
            return;
        };
        let mut solicitation = landfall_wire::buffer();
        let length = landfall_wire::announce::question(address(V6))
            .emit(foreign("other"), &mut solicitation);
        for (asked, question) in [
            (V4, arp_request(foreign("other"))),
            (V6, solicitation[..length].to_vec()),
        ] {
            let flood = Flood::of(&segment, "crowd", question);
            flood.under_way().await;
            let known = format!("{asked} dev eth0 lladdr {}", mac(11));
            segment.ip("client", &format!("neighbour replace {known} nud probe"));
            let reachable = || segment.neighbour("client", asked).contains("REACHABLE");
            eventually("the unicast probe is answered", reachable).await;
        }
    });
}
