//! A backend and a stranger on a segment of their own, as programs, with the kernel between them on the backend's side only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use landfall_probe::report::{Line, Window, parse};
use landfall_testbed::netns::Net;
use landfall_testbed::{missing, skipped};

const PROBE: &str = env!("CARGO_BIN_EXE_landfall-probe");
const PATIENCE: Duration = Duration::from_secs(60);

/// A backend at 192.0.2.1 and 2001:db8::1, a host with an interface and no address, and a switch between them.
fn segment(test: &str) -> Option<Net> {
    if !nix::unistd::geteuid().is_root() || missing(&["ip", "bridge", "nsenter"]).is_some() {
        skipped(test, "root, iproute2, nsenter");
        return None;
    }
    let net = Net::new("probe").unwrap();
    net.host("switch").unwrap();
    net.bridge("switch", "br0").unwrap();
    for (name, last) in [("backend", 1), ("asker", 2)] {
        net.host(name).unwrap();
        let (mac, port) = (format!("02:00:00:00:00:0{last}"), format!("p-{name}"));
        net.plug((name, "eth0", &mac), ("switch", "br0", &port))
            .unwrap();
    }
    for address in ["192.0.2.1/24", "2001:db8::1/64"] {
        net.ip("backend", &format!("address add {address} dev eth0"))
            .unwrap();
    }
    Some(net)
}

/// A program that ends with its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads its lines until they are as wanted.
    fn until(&mut self, mut wanted: impl FnMut(&Line) -> bool) {
        let end = Instant::now() + PATIENCE;
        for line in BufReader::new(self.0.stdout.as_mut().unwrap()).lines() {
            let line = parse(&line.unwrap()).unwrap();
            assert!(Instant::now() < end, "the last line was {line:?}");
            if wanted(&line) {
                return;
            }
        }
        unreachable!("it ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stranger(net: &Net, pairs: &[&str]) -> Running {
    let mut command = net.command("asker", PROBE);
    command.args(["ask", "--port=8080", "--interfaces=eth0"]);
    for pair in pairs {
        command.arg(format!("--pair={pair}"));
    }
    Running::start(&mut command)
}

#[test]
fn a_stranger_is_answered_by_arp_ndp_tcp_and_udp_and_is_seen_in_its_own_address() {
    let Some(net) = segment("a stranger asks a backend") else {
        return;
    };
    let mut serve = net.command("backend", PROBE);
    let _backend = Running::start(serve.args(["serve", "--port=8080", "--pod=pod-a"]));
    let mut asking = stranger(&net, &["192.0.2.9=192.0.2.1", "2001:db8::9=2001:db8::1"]);
    for (own, vip) in [("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")] {
        let vip: IpAddr = vip.parse().unwrap();
        let mut sum = Window::new(vip);
        asking.until(|line| {
            if let Line::Window(window) = line
                && window.vip == vip
            {
                sum.add(window);
            }
            let counts = [&sum.pods, &sum.clients, &sum.macs];
            sum.tcp.answered > 3 && sum.udp.answered > 20 && counts.iter().all(|c| !c.is_empty())
        });
        let keys = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&sum.pods), ["pod-a"]);
        assert_eq!(keys(&sum.clients), [own]);
        assert_eq!(keys(&sum.macs), ["02:00:00:00:00:01"]);
    }
    // Its cable is pulled: a silence that lasts is seen while it lasts.
    net.ip("switch", "link set p-backend down").unwrap();
    asking.until(|line| matches!(line, Line::Window(window) if window.silence_ms > 700));
}

#[test]
fn the_next_stranger_of_an_address_is_answered_where_it_is_and_not_where_the_last_one_was() {
    let Some(net) = segment("a stranger comes after another one") else {
        return;
    };
    let mut serve = net.command("backend", PROBE);
    let _backend = Running::start(serve.args(["serve", "--port=8080", "--pod=pod-a"]));
    for _ in 0..2 {
        let mut asking = stranger(&net, &["2001:db8::9=2001:db8::1"]);
        let mut sum = Window::new("2001:db8::1".parse().unwrap());
        asking.until(|line| {
            if let Line::Window(window) = line {
                sum.add(window);
            }
            sum.tcp.answered > 3
        });
        assert_eq!(sum.tcp.lost, 0);
    }
}

#[test]
fn where_nobody_serves_a_connection_is_refused_and_a_datagram_lost() {
    let Some(net) = segment("a stranger asks nobody") else {
        return;
    };
    let mut asking = stranger(&net, &["192.0.2.9=192.0.2.1"]);
    let mut sum = Window::new("192.0.2.1".parse().unwrap());
    asking.until(|line| {
        if let Line::Window(window) = line {
            sum.add(window);
        }
        sum.tcp.refused > 3 && sum.udp.lost > 3
    });
    assert_eq!((sum.tcp.answered, sum.udp.answered), (0, 0));
}

#[test]
fn an_address_that_somebody_has_is_not_taken() {
    let Some(net) = segment("a stranger is to have an address that is taken") else {
        return;
    };
    for (own, vip) in [("192.0.2.1", "192.0.2.7"), ("2001:db8::1", "2001:db8::7")] {
        let mut asking = stranger(&net, &[&format!("{own}={vip}")]);
        asking.until(|line| {
            assert!(!matches!(line, Line::Window(_)));
            matches!(line, Line::Taken { mac, .. } if mac == "02:00:00:00:00:01")
        });
    }
}
