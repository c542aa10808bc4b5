//! `landfall-announcer samples`: packets of this node on standard output, a JSON object a line.
//!
//! A program of its own beside the announcer, in its container: whoever may run something there may see packets, and nobody
//! else; no port tells them. It asks the announcer by a pinned map, and reads from another.
//!
//! It ends when its standard input is closed or nobody reads its standard output. Killed it leaves nothing either: what it
//! asks for is for three seconds.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use landfall_bpf_lb::Verdict;
use landfall_bpf_lb::samples::{Sampled, Samples, monotonic};
use serde::Serialize;

use crate::looking;

/// The word that it is called by.
pub const COMMAND: &str = "samples";

/// Between two words that somebody looks, which are believed for three times as long.
const RENEW: Duration = Duration::from_secs(1);
/// And between two looks whether samples are taken by now.
const SOON: Duration = Duration::from_millis(100);
/// The announcer has had its programs verified by then, or is not there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two lines that say how many were missed, and that somebody is there.
const TELL: Duration = Duration::from_secs(5);

/// What no frontend has to do with, unless it is asked for.
const OTHERS: [Verdict; 7] = [
    Verdict::NotIp,
    Verdict::Malformed,
    Verdict::Fragment,
    Verdict::OtherProtocol,
    Verdict::NotFrontend,
    Verdict::ReplyUntracked,
    Verdict::ReplyFragment,
];

/// Prints the first bytes of packets that the XDP director of this node is done with, a JSON object a line
///
/// No more than 500 in a second. Packets are taken from now until standard input is closed, or nobody reads what is printed.
/// One at a time can look.
#[derive(Clone, Debug, Parser)]
#[command(name = "landfall-announcer samples")]
pub struct SamplesArgs {
    /// Where the director keeps its maps and links
    #[arg(
        long,
        env = "LANDFALL_BPF_PIN_DIR",
        default_value = "/sys/fs/bpf/landfall",
        value_name = "DIRECTORY"
    )]
    pub bpf_pin_dir: PathBuf,

    /// Only packets with these verdicts, by the labels of landfall_director_packets_total; without, all but those that have
    /// nothing to do with a frontend
    #[arg(long, value_delimiter = ',', value_parser = verdict, value_name = "VERDICT")]
    pub verdict: Vec<Verdict>,
}

fn verdict(label: &str) -> Result<Verdict, String> {
    let found = Verdict::ALL.iter().find(|verdict| verdict.label() == label);
    found
        .copied()
        .ok_or_else(|| "no verdict has this label".to_owned())
}

impl SamplesArgs {
    fn verdicts(&self) -> Vec<Verdict> {
        if !self.verdict.is_empty() {
            return self.verdict.clone();
        }
        let all = Verdict::ALL.iter().copied();
        all.filter(|verdict| !OTHERS.contains(verdict)).collect()
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line<'a> {
    #[serde(rename_all = "camelCase")]
    Packet {
        time: String,
        interface: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        out: Option<&'a str>,
        verdict: &'static str,
        length: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
        /// Its first bytes, two digits each.
        bytes: String,
    },
    /// Packets that should have been printed and are not, so far.
    Missed { missed: u64 },
}

/// Prints packets until nobody looks.
///
/// # Errors
/// If there is no director here, somebody else looks, or its announcer does not answer.
pub fn run(args: &SamplesArgs) -> anyhow::Result<()> {
    let verdicts = args.verdicts();
    let mut samples = Samples::open(&args.bpf_pin_dir)?;
    let mut printer = Printer::new();
    let begun = Instant::now();
    let (mut renew, mut tell, mut taking) = (begun, begun + TELL, begun);
    loop {
        let now = Instant::now();
        if now >= renew {
            renew = now + SOON;
            if samples.want(&verdicts)? {
                taking = now;
                renew = now + RENEW;
            }
            anyhow::ensure!(
                taking.elapsed() < PATIENCE,
                "the announcer of this node takes no samples: see its log"
            );
        }
        if now >= tell {
            let missed = samples.missed()?;
            if !printer.print(&Line::Missed { missed })? {
                return Ok(());
            }
            tell = now + TELL;
        }
        // What is said means nothing; that nobody says anything any more does.
        if looking::wait(samples.fd(), renew.saturating_duration_since(now))?.is_none() {
            return Ok(());
        }
        for sample in samples.take() {
            if !printer.packet(&sample)? {
                return Ok(());
            }
        }
    }
}

struct Printer {
    out: io::StdoutLock<'static>,
    /// Of interfaces, by their indices.
    names: HashMap<u32, String>,
    /// The time of day at the monotonic clock's zero.
    epoch: Timestamp,
}

impl Printer {
    fn new() -> Self {
        let since = SignedDuration::try_from(monotonic()).unwrap_or_default();
        Self {
            out: io::stdout().lock(),
            names: HashMap::new(),
            epoch: Timestamp::now().saturating_sub(since).unwrap_or_default(),
        }
    }

    /// False when nobody reads.
    fn packet(&mut self, sample: &Sampled) -> anyhow::Result<bool> {
        for index in [Some(sample.ifindex), sample.out].into_iter().flatten() {
            self.names.entry(index).or_insert_with(|| name(index));
        }
        let since = SignedDuration::try_from(sample.time).unwrap_or_default();
        let time = self.epoch.saturating_add(since).unwrap_or_default();
        let interface = |index| self.names.get(&index).map_or("", String::as_str);
        let line = Line::Packet {
            time: looking::written(time),
            interface: interface(sample.ifindex),
            out: sample.out.map(interface),
            verdict: sample.verdict.label(),
            length: sample.length,
            vlan: sample.tag.map(|tag| tag & 0xfff),
            bytes: sample
                .bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        };
        looking::print(&mut self.out, &line)
    }

    fn print(&mut self, line: &Line<'_>) -> anyhow::Result<bool> {
        looking::print(&mut self.out, line)
    }
}

/// What an interface is called, or its index where it has gone.
fn name(index: u32) -> String {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: room for the longest name and the zero behind it.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return index.to_string();
    }
    // SAFETY: the kernel's own string within `name`, with a zero at its end.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) };
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> Result<SamplesArgs, clap::Error> {
        SamplesArgs::try_parse_from([COMMAND].iter().chain(flags))
    }

    #[test]
    fn without_a_word_nothing_is_seen_but_what_concerns_a_frontend() {
        let verdicts = args(&[]).unwrap().verdicts();
        assert!(verdicts.contains(&Verdict::Directed) && verdicts.contains(&Verdict::NoBackend));
        assert!(!verdicts.contains(&Verdict::NotFrontend));
        assert_eq!(verdicts.len() + OTHERS.len(), Verdict::COUNT);
    }

    #[test]
    fn verdicts_are_asked_for_by_the_labels_of_the_metric() {
        let asked = args(&["--verdict", "pass_not_frontend,delivered"]).unwrap();
        assert_eq!(asked.verdicts(), [Verdict::NotFrontend, Verdict::Delivered]);
        assert!(args(&["--verdict", "lost"]).is_err());
    }

    #[test]
    fn a_packet_is_one_line() {
        let line = Line::Packet {
            time: "2026-11-27T12:00:01.123456Z".to_owned(),
            interface: "eth0",
            out: None,
            verdict: Verdict::Directed.label(),
            length: 74,
            vlan: None,
            bytes: "02ff".to_owned(),
        };
        let mut out = Vec::new();
        assert!(looking::print(&mut out, &line).unwrap());
        assert!(looking::print(&mut out, &Line::Missed { missed: 3 }).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"time\":\"2026-11-27T12:00:01.123456Z\",\"interface\":\"eth0\",\"verdict\":\"directed\",\
             \"length\":74,\"bytes\":\"02ff\"}\n{\"missed\":3}\n"
        );
    }
}
