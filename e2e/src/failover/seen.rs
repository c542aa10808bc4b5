//! What the rounds of one case showed, as figures.

use std::time::Duration;

use super::case::Case;
use super::figures::Figure;
use super::rounds::Options;
use super::silence::Silence;
use super::stream::{EVERY, Fates, STALLED, STREAMS};

/// What one case showed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) arp: Met,
    pub(super) undone: Met,
    pub(super) connect: Met,
    pub(super) streams: Streams,
    pub(super) undone_streams: Streams,
    pub(super) thawed: Vec<usize>,
    /// Addresses that changed their owner while nothing befell it.
    pub(super) moved: Vec<usize>,
}

/// What the probes of addresses met.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) silent: Vec<Duration>,
    lost: Vec<usize>,
    pub(super) both: Vec<Duration>,
}

impl Met {
    pub(super) fn add(&mut self, silence: &Silence) {
        self.silent.push(silence.lasted);
        self.lost.push(silence.lost);
    }
}

/// What streams met: of each that goes on the longest pause; how many of each round do not.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pauses: Vec<Duration>,
    reset: Vec<usize>,
    stalled: Vec<usize>,
}

impl Streams {
    pub(super) fn add(&mut self, fates: Fates) {
        self.pauses.extend(fates.pauses);
        self.reset.push(fates.reset);
        self.stalled.push(fates.stalled);
    }

    fn figures(&self, name: &str, method: &str) -> [Option<Figure>; 3] {
        let count = |what: &str, counts: &[usize]| {
            Figure::counts(format!("{name}/stream-{what}"), "streams", counts, method)
        };
        [
            Figure::milliseconds(format!("{name}/stream-pause"), &self.pauses, method),
            count("reset", &self.reset),
            count("stalled", &self.stalled),
        ]
    }
}

impl Seen {
    /// As figures of a case; nothing where nothing was looked at.
    pub(super) fn figures(&self, case: Case, options: &Options) -> Vec<Figure> {
        let (mode, circumstances) = (&options.mode, circumstances());
        let owners = if options.together {
            ", all on one node while another may own them"
        } else {
            ""
        };
        let method = |asked: &str| {
            format!(
                "{}; {} nodes, {} addresses{owners}, {mode}; {asked}; {circumstances}",
                case.what(),
                options.nodes,
                options.addresses
            )
        };
        let arp = method(&format!(
            "ARP every {:?} for one after the other of at most {} addresses the node owned, evenly spread, others each round",
            options.pause, options.asked
        ));
        let connect = method(
            "a TCP connection to one of its addresses, from the last opened before to the first after which all were",
        );
        let both = method("from the first answer of the new owner to the last of the old one");
        let thawed = method("ARP answers of the thawed node in the 2 s after SIGCONT, or more");
        let moved = method(&format!(
            "addresses that changed their owner within {} s",
            options.quiet.as_secs()
        ));
        let undone = method("ARP as before, from the moment when it is undone");
        let streamed = |when: &str| {
            method(&format!(
                "{when} of {STREAMS} streams to its addresses, a number every {EVERY:?} that is echoed, TCP with its defaults: of those that go on the longest time between two echoes, and by round how many were reset, and were silent for {STALLED:?}",
            ))
        };
        let name = format!("{}/{mode}", case.name());
        let undoing = case.undoing().unwrap_or("undone");
        let undoing = format!("{undoing}/{mode}");
        let milliseconds = |name: &str, what: &str, times: &[Duration], method: &str| {
            Figure::milliseconds(format!("{name}/{what}"), times, method)
        };
        let probes = |what: &str, counts: &[usize], method: &str| {
            Figure::counts(format!("{name}/{what}"), "probes", counts, method)
        };
        let figures = [
            milliseconds(&name, "arp-silence", &self.arp.silent, &arp),
            probes("arp-lost", &self.arp.lost, &arp),
            Figure::counts(format!("{name}/moves"), "addresses", &self.moved, &moved),
            milliseconds(&name, "two-answering", &self.arp.both, &both),
            probes("thawed-answers", &self.thawed, &thawed),
            milliseconds(&undoing, "arp-silence", &self.undone.silent, &undone),
            milliseconds(&undoing, "two-answering", &self.undone.both, &undone),
            milliseconds(&name, "connect-silence", &self.connect.silent, &connect),
            probes("connect-lost", &self.connect.lost, &connect),
        ];
        let streams = self.streams.figures(&name, &streamed("from then on"));
        let after = &self.undone_streams;
        let after = after.figures(&undoing, &streamed("from the moment when it is undone"));
        let all = figures.into_iter().chain(streams).chain(after);
        all.flatten().collect()
    }
}

/// What else a reader of the figures must know: how the programs were built, and how busy the machine is.
fn circumstances() -> String {
    let build = if cfg!(debug_assertions) {
        "unoptimized build"
    } else {
        "optimized build"
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // Of the last fifteen minutes: the lab's own part of it is small.
    let load = load.split_whitespace().nth(2).unwrap_or("unknown");
    format!("{build}, load of the machine {load}")
}
