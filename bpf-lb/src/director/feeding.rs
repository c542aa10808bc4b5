//! Telling the programs that somebody keeps their tables, also while a long plan is carried out.

use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::{ProgramError, TestRun, TestRunOptions};

use super::ApplyError;
use crate::diff::{Operation, Target};
use crate::links::feeder;
use crate::maps::Maps;
use crate::room::Table;
use landfall_bpf_lb_common::records::Slot;

/// Between two words within a plan: the programs believe one for a second.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs the program that notes a sign of life, with this word; jiffies of now.
pub(super) fn run_feeder(ebpf: &mut Ebpf, word: u8) -> Result<u32, ApplyError> {
    let frame = [word; 64];
    let mut run = || -> Result<u32, ProgramError> {
        let run = feeder(ebpf)?.test_run(TestRunOptions {
            data_in: Some(&frame),
            ..TestRunOptions::new()
        })?;
        Ok(run.return_value)
    };
    run().map_err(ApplyError::Feed)
}

/// Says that it is one.
pub(super) const ALIVE: u8 = 1;

/// The maps, whose programs are told meanwhile that somebody keeps them.
pub(super) struct Fed<'d> {
    pub(super) maps: &'d mut Maps,
    /// None if they are not to be told.
    pub(super) feeder: Option<&'d mut Ebpf>,
    /// When they were told, or the plan began.
    pub(super) last: Instant,
}

impl Target for Fed<'_> {
    type Error = ApplyError;

    fn slots(&self, table: Table) -> Vec<Slot> {
        self.maps.slots(table)
    }

    fn carry_out(&mut self, operation: Operation) -> Result<(), ApplyError> {
        if let Some(ebpf) = &mut self.feeder
            && self.last.elapsed() >= PAUSE
        {
            run_feeder(ebpf, ALIVE)?;
            self.last = Instant::now();
        }
        Ok(self.maps.carry_out(operation)?)
    }
}
