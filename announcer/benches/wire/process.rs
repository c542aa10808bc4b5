//! Without sockets: what parsing, look-up and answer cost in this process, in time and in instructions.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use landfall_announcer::link::IfIndex;
use landfall_wire::{Decision, Interest, buffer, decide};

use crate::OWNED;
use crate::figures::Figures;
use crate::questions::{FAMILIES, FOREIGN, addresses, many};
use crate::segment::{mac, text};

/// The flag with which this program runs under valgrind.
pub(crate) const COUNT: &str = "--count-instructions";
/// What valgrind is told to count within.
const COUNTED: &str = "landfall_counted";

type Table = HashMap<(IpAddr, IfIndex), u64>;

/// As the responder's.
fn table(owned: u32) -> Table {
    addresses(owned).map(|address| ((address, 2), 1)).collect()
}

/// Parsing, look-up and the answer's bytes; how many were answered.
fn decide_all(frames: &[Vec<u8>], table: &Table) -> usize {
    let interest = |address| {
        if table.contains_key(&(address, 2)) {
            Interest::Owned
        } else {
            Interest::None
        }
    };
    let mut out = buffer();
    let mut answered = 0;
    for frame in frames {
        let decision = decide(black_box(frame), mac(11), interest, |_| None, &mut out);
        answered += usize::from(matches!(decision, Decision::Answer(_)));
        black_box(&out);
    }
    answered
}

/// The time of one frame.
pub(crate) fn times(figures: &mut Figures) {
    let method = "a batch is 1,000 different frames, parsed, looked up and answered into a buffer; hash table as the responder's; the tables of 1, 1,000 and 10,000 in turn";
    let tables = OWNED.map(table);
    for family in FAMILIES {
        for (what, first, expected) in [("answered", 0, 1_000), ("foreign", FOREIGN, 0)] {
            let frames = OWNED.map(|owned| many(family, 1_000, first, owned));
            let mut samples = OWNED.map(|_| Vec::new());
            for _ in 0..300 {
                for (at, samples) in samples.iter_mut().enumerate() {
                    let begin = Instant::now();
                    assert_eq!(decide_all(&frames[at], &tables[at]), expected);
                    samples.push(begin.elapsed().as_nanos() as f64 / 1_000.0);
                }
            }
            for (samples, owned) in samples.into_iter().zip(OWNED) {
                let name = format!("in process, {} {what}, {owned} owned", family.name);
                figures.add(&name, "ns/frame", method, samples);
            }
        }
    }
}

/// What valgrind counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn landfall_counted(frames: &Vec<Vec<u8>>, table: &Table) -> usize {
    decide_all(frames, table)
}

/// What this program does under valgrind.
pub(crate) fn counted(kind: &str, owned: u32) {
    let family = FAMILIES.into_iter().find(|family| family.name == kind);
    let (frames, table) = (many(family.unwrap(), 1_000, 0, owned), table(owned));
    assert_eq!(landfall_counted(&frames, &table), 1_000);
}

/// Instructions of look-up and answer: free of whatever else runs here.
pub(crate) fn instructions(figures: &mut Figures) {
    for family in FAMILIES {
        for owned in OWNED {
            let output = std::process::Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(format!("--toggle-collect={COUNTED}"))
                .arg(std::env::current_exe().unwrap())
                .args([COUNT, family.name, &owned.to_string()])
                .output();
            let Ok(output) = output else {
                eprintln!("SKIPPED (needs valgrind): the instruction counts of bench-wire");
                return;
            };
            let text = text(&output);
            let collected = text
                .lines()
                .find_map(|line| line.split_once("Collected :"))
                .map(|(_, count)| count.trim().parse::<f64>());
            let Some(Ok(collected)) = collected else {
                panic!("valgrind said no count: {text}");
            };
            figures.one(
                &format!("in process, {} answered, {owned} owned", family.name),
                "instructions/frame",
                "callgrind's count over 1,000 different frames",
                collected / 1_000.0,
            );
        }
    }
}
