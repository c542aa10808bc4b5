//! Namespaces of a test end with it, however it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landfall_testbed::netns::{self, Host, Net};
use landfall_testbed::process::Stamp;
use landfall_testbed::{missing, skipped};

const PATIENCE: Duration = Duration::from_secs(20);
/// The name of the test below that is run as a program of its own.
const KILLED: &str = "a_net_whose_process_is_killed";

fn cannot_run(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    let cannot = !root || missing(&["ip", "bridge", "nsenter"]).is_some();
    if cannot {
        skipped(test, "root, iproute2, nsenter");
    }
    cannot
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_hosts_on_a_bridge_reach_each_other_and_are_gone_with_their_net() {
    if cannot_run("two_hosts_on_a_bridge_reach_each_other_and_are_gone_with_their_net") {
        return;
    }
    let net = Net::new("netns").unwrap();
    net.host("switch").unwrap();
    net.bridge("switch", "br0").unwrap();
    for (name, last) in [("one", 1), ("two", 2)] {
        net.host(name).unwrap();
        let (mac, port) = (format!("02:00:00:00:00:0{last}"), format!("p-{name}"));
        net.plug((name, "eth0", &mac), ("switch", "br0", &port))
            .unwrap();
        net.ip(name, &format!("address add 192.0.2.{last}/24 dev eth0"))
            .unwrap();
    }
    let listener = net
        .inside("two", || {
            std::net::TcpListener::bind("192.0.2.2:80").unwrap()
        })
        .unwrap();
    net.inside("one", || {
        std::net::TcpStream::connect("192.0.2.2:80").unwrap()
    })
    .unwrap();
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "192.0.2.1");

    // A process that stays behind goes too.
    let mut left = net.command("one", "sleep").arg("600").spawn().unwrap();
    let prefix = net.name("");
    assert_eq!(netns::named(&prefix).len(), 3);
    until("the process is in the namespace", || {
        !netns::inhabitants(&[net.name("one")]).is_empty()
    });
    drop(net);
    assert_eq!(netns::named(&prefix), Vec::<String>::new());
    assert!(!left.wait().unwrap().success());
}

#[test]
fn the_namespaces_of_a_killed_test_are_gone_a_moment_later() {
    if cannot_run("the_namespaces_of_a_killed_test_are_gone_a_moment_later") {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", KILLED])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(test.stdout.take().unwrap()).lines();
    let told = told.map(Result::unwrap).find_map(|line| {
        let (_, told) = line.split_once("made ")?;
        Some(told.to_owned())
    });
    let told = told.unwrap();
    let (prefix, pid) = told.split_once(' ').unwrap();
    let inhabitant = Stamp::of(pid.parse().unwrap()).unwrap();
    assert_eq!(netns::named(prefix).len(), 1);

    test.kill().unwrap();
    test.wait().unwrap();
    until("its namespace is gone", || netns::named(prefix).is_empty());
    until("what ran in it is gone", || !inhabitant.is_alive());
}

#[test]
#[ignore = "the other test runs it, as a program to be killed"]
#[expect(
    clippy::zombie_processes,
    reason = "whether it is ended without its maker is the question"
)]
fn a_net_whose_process_is_killed() {
    let net = Net::new("killed").unwrap();
    net.host("one").unwrap();
    let child = net.command("one", "sleep").arg("600").spawn().unwrap();
    println!("made {} {}", net.name(""), child.id());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_host_of_a_thread_runs_jobs_in_its_own_namespace_and_says_when_one_panicked() {
    if cannot_run("a_host_of_a_thread_runs_jobs_in_its_own_namespace_and_says_when_one_panicked") {
        return;
    }
    let (one, two) = (Host::new().unwrap(), Host::new().unwrap());
    one.cable("eth0", &two, "eth0").unwrap();
    one.ip("address add 192.0.2.1/24 dev eth0\nlink set eth0 up")
        .unwrap();
    two.ip("address add 192.0.2.2/24 dev eth0\nlink set eth0 up")
        .unwrap();
    two.sysctl("ipv4/conf/eth0/forwarding", "1").unwrap();
    let listener = two
        .run(|| std::net::TcpListener::bind("192.0.2.2:80").unwrap())
        .unwrap();
    one.run(|| std::net::TcpStream::connect("192.0.2.2:80").unwrap())
        .unwrap();
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "192.0.2.1");
    assert!(
        one.ip("link set nothing up")
            .unwrap_err()
            .to_string()
            .contains("nothing")
    );
    assert!(one.run(|| panic!("on purpose")).is_err());
}
