//! Running the programs on exact bytes, by `BPF_PROG_TEST_RUN`.

use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use landfall_bpf_lb::{Action, Director, Verdict};
use std::collections::BTreeMap;

use super::at_tc;

pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;
/// What the TC program returns for everything but a broken reply.
pub(crate) const NEXT: u32 = u32::MAX;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
    /// The verdicts counted during the run.
    pub(crate) counted: BTreeMap<Verdict, u64>,
}

impl Ran {
    /// The only verdict that was counted.
    #[must_use]
    pub(crate) fn verdict(&self) -> Verdict {
        assert_eq!(self.counted.values().sum::<u64>(), 1, "{:?}", self.counted);
        *self.counted.keys().next().unwrap()
    }
}

/// A frame received on the interface `ifindex`.
pub(crate) fn receive(director: &mut Director, ifindex: u32, frame: &[u8]) -> Ran {
    if at_tc() {
        return receive_at_tc(director, ifindex, frame);
    }
    receive_by(director, "landfall_xdp", ifindex, frame)
}

/// The same at TC ingress; what comes of it is told in the words of XDP.
pub(crate) fn receive_at_tc(director: &mut Director, ifindex: u32, frame: &[u8]) -> Ran {
    const NEXT: u32 = u32::MAX;
    const SHOT: u32 = 2;
    const REDIRECTED: u32 = 7;
    let before = director.counters().unwrap();
    // The eleventh word of a `struct __sk_buff` is the interface.
    let mut context = [0; 11];
    context[10] = ifindex;
    let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ran = classify(director, "landfall_tc", frame, Some(&context), &before);
    let told = ran.counted.keys().next().map(|verdict| verdict.action());
    let action = match (ran.action, told) {
        (NEXT, _) => PASS,
        (SHOT, _) => DROP,
        (REDIRECTED, Some(Action::Transmit)) => TX,
        (REDIRECTED, Some(Action::Redirect)) => REDIRECT,
        other => panic!("{other:?}"),
    };
    Ran { action, ..ran }
}

/// The same, by the program of this name.
pub(crate) fn receive_by(
    director: &mut Director,
    program: &str,
    ifindex: u32,
    frame: &[u8],
) -> Ran {
    let before = director.counters().unwrap();
    let xdp: &Xdp = director
        .programs()
        .program(program)
        .unwrap()
        .try_into()
        .unwrap();
    let mut out = vec![0; frame.len() + 256];
    let context = context(frame.len(), ifindex);
    let result = xdp
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        })
        .unwrap();
    out.truncate(result.data_size_out as usize);
    Ran {
        action: result.return_value,
        frame: out,
        counted: since(&before, director),
    }
}

/// A frame about to leave.
pub(crate) fn send(director: &mut Director, frame: &[u8]) -> Ran {
    let before = director.counters().unwrap();
    classify(director, "landfall_egress", frame, None, &before)
}

fn classify(
    director: &mut Director,
    program: &str,
    frame: &[u8],
    context: Option<&[u8]>,
    before: &[(Verdict, u64)],
) -> Ran {
    let program: &SchedClassifier = director
        .programs()
        .program(program)
        .unwrap()
        .try_into()
        .unwrap();
    let mut out = vec![0; frame.len() + 256];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: context,
            ..TestRunOptions::new()
        })
        .unwrap();
    out.truncate(result.data_size_out as usize);
    Ran {
        action: result.return_value,
        frame: out,
        counted: since(before, director),
    }
}

fn since(before: &[(Verdict, u64)], director: &Director) -> BTreeMap<Verdict, u64> {
    let after = director.counters().unwrap();
    after
        .into_iter()
        .zip(before)
        .map(|((verdict, after), (_, before))| (verdict, after - before))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// A `struct xdp_md`: all of the data, no metadata, the interface, its first queue.
#[must_use]
pub(crate) fn context(length: usize, ifindex: u32) -> Vec<u8> {
    let length = u32::try_from(length).unwrap();
    [0, length, 0, ifindex, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect()
}
