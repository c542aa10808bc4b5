//! What the kernel's verifier has to do before a program runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

use aya::programs::{Program, ProgramError};
use landfall_bpf_lb::{Director, Sampler};
use landfall_bpf_lb_common::names;
use support::Node;

/// After so many instructions the verifier gives up.
const LIMIT: u32 = 1_000_000;

#[test]
fn every_program_is_verified_within_half_of_the_limit() {
    needs_root!("every_program_is_verified_within_half_of_the_limit");
    let node = Node::new();
    let mut director = node.director();
    within_half_of_the_limit(&mut director);
    println!("while somebody looks:");
    director
        .take_samples(Sampler::load(&node.settings).unwrap())
        .unwrap();
    within_half_of_the_limit(&mut director);
}

fn within_half_of_the_limit(director: &mut Director) {
    for name in [names::XDP, names::XDP_FRAGS, names::TC, names::EGRESS] {
        let program = director.programs().program_mut(name).unwrap();
        let loaded = match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => panic!("{name} is of type {:?}", other.prog_type()),
        };
        assert!(matches!(loaded, Ok(()) | Err(ProgramError::AlreadyLoaded)));
        let info = program.info().unwrap();
        let verified = info.verified_instruction_count().unwrap();
        let size = info.size_translated().unwrap();
        println!("{name}: {verified} instructions verified, {size} bytes");
        assert!(verified < LIMIT / 2, "{name}: {verified}");
    }
}
