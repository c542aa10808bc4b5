//! What deciding costs with many addresses: instructions of one step of the brain, at rest, when one record changes, and
//! when the node dies that owns all of them and this one stands by.
//!
//! Prints a table and writes `target/figures/bench-brain.json`. A heartbeat alone costs nothing here: the thread that
//! hears it knows no addresses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a bench may end here, and its figures are small"
)]

#[path = "../wire/figures.rs"]
mod figures;
mod world;

use std::process::Command;
use std::time::Instant;

use landfall_announcer::brain::{Brain, Effects, Input};

use figures::Figures;
use world::{SECOND, brain, change, death, wall};

const ADDRESSES: [u32; 3] = [100, 1_000, 10_000];
const CASES: [(&str, &str); 3] = [
    ("rest", "one decision while nothing happens"),
    ("change", "one decision after one record has changed"),
    (
        "death",
        "the decision to answer for all addresses of a node whose session peers have ended",
    ),
];
/// The flag with which this program runs under valgrind.
const COUNT: &str = "--count-instructions";
/// What valgrind is told to count within.
const COUNTED: &str = "landfall_counted";

/// A brain at rest, and what it then learns.
fn case(kind: &str, addresses: u32) -> (Brain, Vec<Input>) {
    let inputs = match kind {
        "rest" => Vec::new(),
        "change" => vec![change(addresses)],
        "death" => vec![death()],
        _ => panic!("no case is called {kind}"),
    };
    (brain(addresses), inputs)
}

/// What valgrind counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn landfall_counted(brain: &mut Brain, inputs: &mut Vec<Input>) -> Box<Effects> {
    let now = SECOND * 103;
    for input in inputs.drain(..) {
        brain.take(input, now);
    }
    Box::new(brain.step(now, &wall()))
}

/// Runs a case, and says what it did, so that nobody measures something else.
fn run(kind: &str, addresses: u32) -> f64 {
    let (mut brain, mut inputs) = case(kind, addresses);
    let began = Instant::now();
    let effects = landfall_counted(&mut brain, &mut inputs);
    let took = began.elapsed();
    let expected = if kind == "death" {
        usize::try_from(addresses).unwrap()
    } else {
        0
    };
    assert_eq!(effects.owned.len(), expected, "{kind}");
    took.as_secs_f64() * 1e3
}

fn instructions(kind: &str, addresses: u32) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(std::env::current_exe().unwrap())
        .args([COUNT, kind, &addresses.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse::<f64>().ok());
    Some(collected.unwrap_or_else(|| panic!("valgrind said no count: {text}")))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, kind, addresses] = arguments.as_slice()
        && flag == COUNT
    {
        run(kind, addresses.parse().unwrap());
        return;
    }
    let mut figures = Figures::default();
    for (kind, method) in CASES {
        for addresses in ADDRESSES {
            let name = format!("{kind}, {addresses} addresses");
            let times = (0..10).map(|_| run(kind, addresses)).collect();
            figures.add(&name, "ms", method, times);
            match instructions(kind, addresses) {
                Some(count) => {
                    let method = format!("{method}; callgrind's count, by address");
                    let each = count / f64::from(addresses);
                    figures.one(&name, "instructions/address", &method, each);
                }
                None => eprintln!("SKIPPED (needs valgrind): the instructions of {name}"),
            }
        }
    }
    figures.write("brain");
}
