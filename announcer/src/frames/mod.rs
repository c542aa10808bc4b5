//! `landfall-announcer frames`: what this node hears and says on the segment of ARP, Neighbour Discovery and announcers'
//! frames, on standard output, a JSON object a line.
//!
//! ```text
//!   Tap (a socket that only looks, an interface each) ── bytes ──► told ──► line
//! ```
//! A program of its own beside the announcer, in its container, as [`crate::samples`] is: whoever may run something there may
//! see frames, and nobody else. The announcer takes no part in it, and nothing of it slows an answer down.
//!
//! It ends when its standard input is closed or nobody reads its standard output.

mod told;

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use k8s_openapi::jiff::Timestamp;
use landfall_wire::peers;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use crate::link::Tap;
use crate::looking;
use told::{Told, told};

/// The word that it is called by.
pub const COMMAND: &str = "frames";

/// No more lines than this in a second.
const MOST: u64 = 500;
/// Between two lines that say how many were missed, and that somebody is there.
const TELL: Duration = Duration::from_secs(5);

/// Prints what this node hears and says on its segment of ARP, Neighbour Discovery and frames between announcers, a JSON
/// object a line
///
/// No more than 500 in a second, until standard input is closed, or nobody reads what is printed. What an announcer says of
/// itself is told as it stands in the frame: it is not verified.
#[derive(Clone, Debug, Parser)]
#[command(name = "landfall-announcer frames")]
pub struct FramesArgs {
    /// The interfaces to look at
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAME")]
    pub interface: Vec<String>,

    /// Heartbeats, too: every node sends some each second
    #[arg(long)]
    pub beats: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line<'a> {
    #[serde(rename_all = "camelCase")]
    Frame {
        time: String,
        interface: &'a str,
        /// Whether this node sent it.
        sent: bool,
        #[serde(flatten)]
        told: Told,
    },
    /// Frames that should have been printed and are not, so far.
    Missed { missed: u64 },
}

/// Prints frames until nobody looks.
///
/// # Errors
/// If an interface cannot be looked at.
pub fn run(args: &FramesArgs) -> anyhow::Result<()> {
    let taps = args.interface.iter().map(|name| {
        let index = if_nametoindex(name.as_str());
        let index = index.with_context(|| format!("there is no interface {name}"))?;
        let tap = Tap::open(index).with_context(|| format!("looking at {name}"))?;
        Ok((name.as_str(), tap))
    });
    let taps = taps.collect::<anyhow::Result<Vec<(&str, Tap)>>>()?;
    let mut out = io::stdout().lock();
    let mut buffer = peers::buffer();
    let (mut second, mut printed, mut missed) = (Instant::now(), 0, 0);
    let mut tell = second + TELL;
    loop {
        let now = Instant::now();
        if now >= tell {
            for (_, tap) in &taps {
                missed += u64::from(tap.take_dropped().unwrap_or_default());
            }
            if !looking::print(&mut out, &Line::Missed { missed })? {
                return Ok(());
            }
            tell = now + TELL;
        }
        let fds = taps.iter().map(|(_, tap)| tap.as_fd());
        if !looking::wait(fds, tell.saturating_duration_since(now))? {
            return Ok(());
        }
        for (interface, tap) in &taps {
            while let Some(tapped) = tap
                .take(&mut buffer)
                .with_context(|| format!("looking at {interface}"))?
            {
                let bytes = buffer.get(..tapped.length).unwrap_or_default();
                let Some(told) = told(bytes).filter(|told| args.beats || !told.is_beat()) else {
                    continue;
                };
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, printed) = (Instant::now(), 0);
                }
                if printed == MOST {
                    missed += 1;
                    continue;
                }
                printed += 1;
                let line = Line::Frame {
                    time: looking::written(Timestamp::now()),
                    interface,
                    sent: tapped.is_sent,
                    told,
                };
                if !looking::print(&mut out, &line)? {
                    return Ok(());
                }
            }
        }
    }
}
