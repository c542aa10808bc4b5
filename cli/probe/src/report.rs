//! What the stranger saw, in lines of JSON, and how lines add up. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase")]
pub enum Line {
    /// Somebody else answers for the address that the stranger was to have: it asks nothing.
    Taken { address: IpAddr, mac: String },
    /// From now on it asks.
    Began {
        address: IpAddr,
        vip: IpAddr,
        interface: String,
    },
    /// What became of its questions since the line before.
    Window(Window),
}

/// Questions about one address, and their answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    pub vip: IpAddr,
    pub tcp: Tally,
    pub udp: Tally,
    /// The longest time from a datagram without an answer to the next one with one, in milliseconds, ended or not.
    pub silence_ms: u64,
    /// Answers, by the Pod that gave them.
    pub pods: BTreeMap<String, u64>,
    /// Answers, by whom the Pod saw asking.
    pub clients: BTreeMap<String, u64>,
    /// Questions by ARP or NDP.
    pub asked_who: u64,
    /// Answers to those, by the Ethernet address that they name.
    pub macs: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub answered: u64,
    /// Reset by whoever got the question.
    pub refused: u64,
    /// Not answered in time.
    pub lost: u64,
}

impl Window {
    #[must_use]
    pub fn new(vip: IpAddr) -> Self {
        Self {
            vip,
            tcp: Tally::default(),
            udp: Tally::default(),
            silence_ms: 0,
            pods: BTreeMap::new(),
            clients: BTreeMap::new(),
            asked_who: 0,
            macs: BTreeMap::new(),
        }
    }

    /// This one and the one after it as one.
    pub fn add(&mut self, later: &Self) {
        let Self {
            vip: _,
            tcp,
            udp,
            silence_ms,
            pods,
            clients,
            asked_who,
            macs,
        } = later;
        self.tcp.add(*tcp);
        self.udp.add(*udp);
        self.silence_ms = self.silence_ms.max(*silence_ms);
        self.asked_who += asked_who;
        for (sum, more) in [
            (&mut self.pods, pods),
            (&mut self.clients, clients),
            (&mut self.macs, macs),
        ] {
            for (name, count) in more {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }
}

impl Tally {
    /// How many questions these were.
    #[must_use]
    pub fn asked(self) -> u64 {
        self.answered + self.refused + self.lost
    }

    fn add(&mut self, later: Self) {
        self.answered += later.answered;
        self.refused += later.refused;
        self.lost += later.lost;
    }
}

/// A line as it was written, or nothing where it is none of ours.
#[must_use]
pub fn parse(line: &str) -> Option<Line> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut window = Window::new("2001:db8::1".parse().unwrap());
        window.tcp.answered = 3;
        window.macs.insert("02:00:00:00:00:01".to_owned(), 2);
        for line in [
            Line::Window(window),
            Line::Taken {
                address: "192.0.2.1".parse().unwrap(),
                mac: "02:00:00:00:00:01".to_owned(),
            },
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(parse(&text), Some(line));
        }
        assert_eq!(parse("a word of somebody else"), None);
    }

    #[test]
    fn two_windows_add_up_and_of_two_silences_the_longer_counts() {
        let vip = "192.0.2.1".parse().unwrap();
        let window = |answered, silence_ms| {
            let mut window = Window::new(vip);
            window.udp.answered = answered;
            window.udp.lost = 1;
            window.silence_ms = silence_ms;
            window.pods.insert("a".to_owned(), answered);
            window
        };
        let mut sum = window(2, 40);
        sum.add(&window(3, 20));
        assert_eq!((sum.udp.answered, sum.udp.asked()), (5, 7));
        assert_eq!((sum.silence_ms, sum.pods["a"]), (40, 5));
    }
}
