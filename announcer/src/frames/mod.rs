//! `landfall-announcer frames`: what this node hears and says on the segment of ARP, Neighbour Discovery and announcers'
//! frames, on standard output, a JSON object a line.
//!
//! ```text
//!   Look (a socket that only looks, an interface each) ── bytes ──► told ──► wanted? ──► at most 500 a second ──► line
//! ```
//! A program of its own beside the announcer, in its container, as [`crate::samples`] is: whoever may run something there may
//! see frames, and nobody else. The announcer takes no part in it, and nothing of it slows an answer down.
//!
//! It ends when its standard input is closed or nobody reads its standard output.

mod look;
mod told;
mod wanted;

use std::io;
use std::time::{Duration, Instant};

use clap::Parser;
use k8s_openapi::jiff::Timestamp;
use landfall_wire::peers;
use serde::Serialize;

use crate::looking;
use look::{Look, Seen};
use told::{Told, told};
use wanted::Asked;

/// The word that it is called by.
pub const COMMAND: &str = "frames";

/// No more lines than this in a second.
const MOST: u64 = 500;
/// Between two lines that say how many were missed, and that somebody is there; and between two looks for interfaces that
/// have gone.
const TELL: Duration = Duration::from_secs(5);

/// Prints what this node hears and says on its segment of ARP, Neighbour Discovery and frames between announcers, a JSON
/// object a line
///
/// No more than 500 in a second, until standard input is closed, or nobody reads what is printed. What an announcer says of
/// itself is told as it stands in the frame: it is not verified. Of an interface that goes down, or is not there, that is told,
/// and what it hears once it is up again.
///
/// A line on standard input such as {"addresses":["192.0.2.1"],"withoutAddress":true} says what is told of from then on, before
/// the 500 are counted: frames about these addresses, and those that are about none.
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
    /// What stands against seeing all of it.
    Note { note: String },
}

/// Prints frames until nobody looks.
///
/// # Errors
/// If none of the interfaces can be looked at.
pub fn run(args: &FramesArgs) -> anyhow::Result<()> {
    let (mut looks, mut notes) = begin(&args.interface)?;
    let mut asked = Asked::default();
    let mut out = io::stdout().lock();
    let mut buffer = peers::buffer();
    let (mut second, mut printed, mut missed) = (Instant::now(), 0, 0);
    let mut tell = second + TELL;
    loop {
        let now = Instant::now();
        if now >= tell {
            missed += looks.iter().map(Look::take_dropped).sum::<u64>();
            if !looking::print(&mut out, &Line::Missed { missed })? {
                return Ok(());
            }
            notes.extend(looks.iter_mut().filter_map(renewed));
            tell = now + TELL;
        }
        for note in notes.drain(..) {
            if !looking::print(&mut out, &Line::Note { note })? {
                return Ok(());
            }
        }
        let fds = looks.iter().filter_map(Look::fd);
        let Some(said) = looking::wait(fds, tell.saturating_duration_since(now))? else {
            return Ok(());
        };
        if let Err(error) = asked.hear(&said) {
            notes.push(format!("what is wanted cannot be read: {error}"));
        }
        for look in &looks {
            let interface = look.name;
            loop {
                let tapped = match look.take(&mut buffer)? {
                    Seen::Frame(tapped) => tapped,
                    Seen::Down => {
                        notes.push(format!(
                            "{interface} is down: nothing is seen there until it is up"
                        ));
                        continue;
                    }
                    Seen::Nothing => break,
                };
                let bytes = buffer.get(..tapped.length).unwrap_or_default();
                let is_wanted =
                    |told: &Told| (args.beats || !told.is_beat()) && asked.wants(&told.addresses);
                let Some(told) = told(bytes).filter(is_wanted) else {
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

/// Looks at these, as far as they are there, and why not at the others.
///
/// # Errors
/// If none of them can be looked at.
fn begin(names: &[String]) -> anyhow::Result<(Vec<Look<'_>>, Vec<String>)> {
    let mut looks: Vec<Look<'_>> = names.iter().map(|name| Look::new(name)).collect();
    let failed = looks.iter_mut().filter_map(|look| look.renew().err());
    let mut failed: Vec<_> = failed.collect();
    if failed.len() == looks.len() {
        return Err(failed.swap_remove(0));
    }
    let notes = failed.iter().map(|error| format!("{error:#}")).collect();
    Ok((looks, notes))
}

/// Looks again where an interface has come, or another has its name; what there is to say of it, once.
fn renewed(look: &mut Look<'_>) -> Option<String> {
    let was_open = look.is_open();
    match look.renew() {
        Ok(true) => Some(format!("{} is looked at from now on", look.name)),
        Ok(false) => None,
        Err(error) => was_open.then(|| format!("{error:#}")),
    }
}
