//! `landfall-announcer frames`, which looks at links beside the announcer.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::segment::Segment;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program while it runs in the namespace of the test.
struct Looking {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Looking {
    fn start(interfaces: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_landfall-announcer"))
            .args(["frames", "--interface", interfaces])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The lines up to the first that has this in it, which must come soon: every five seconds there is one at least.
    fn until(&mut self, words: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if line.contains(words) {
                return before;
            }
            before.push(line);
            assert!(Instant::now() < deadline, "no {words} in {before:#?}");
        }
        panic!("it has ended without {words}, after {before:#?}");
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the switch sends frames out of a port: until then it drops them.
async fn forwards(segment: &Segment, port: &str) {
    eventually("the port forwards", || {
        let said = segment.bridge("switch", &format!("link show dev {port}"));
        said.contains("state forwarding")
    })
    .await;
}

/// Who asks for the address that ends in this.
fn question(last: u8) -> Vec<u8> {
    let mut frame = arp_request(foreign("client"));
    frame[41] = last;
    frame
}

#[test]
fn what_others_ask_for_takes_no_room_from_what_is_looked_for() {
    on_a_segment(
        "what_others_ask_for_takes_no_room_from_what_is_looked_for",
        async |segment| {
            let mut looking = Looking::start("eth0");
            // It says every five seconds that it is there.
            looking.until("missed");
            looking.say(r#"{"addresses":["192.0.2.100"]}"#);
            let mut frames = vec![question(7); 2_000];
            frames.push(question(100));
            segment.inject("client", frames).await;
            assert_eq!(looking.until("192.0.2.100"), [""; 0]);
        },
    );
}

#[test]
fn a_link_that_goes_down_or_away_is_said_and_looked_at_again_and_ends_no_look() {
    on_a_segment(
        "a_link_that_goes_down_or_away_is_said_and_looked_at_again_and_ends_no_look",
        async |segment| {
            segment.plug("node", "late0", "p-late", 12);
            let mut looking = Looking::start("late0,eth0,none0");
            looking.until("there is no interface none0");
            segment.ip("node", "link set late0 down");
            looking.until("late0 is down");
            segment.inject("client", vec![question(100)]).await;
            looking.until(r#""interface":"eth0""#);
            segment.ip("node", "link set late0 up");
            forwards(&segment, "p-late").await;
            segment.inject("client", vec![question(100); 3]).await;
            looking.until(r#""interface":"late0""#);
            segment.ip("node", "link delete late0");
            looking.until("there is no interface late0");
            segment.plug("node", "late0", "p-later", 12);
            looking.until("late0 is looked at from now on");
            forwards(&segment, "p-later").await;
            segment.inject("client", vec![question(100); 3]).await;
            looking.until(r#""interface":"late0""#);
        },
    );
}
