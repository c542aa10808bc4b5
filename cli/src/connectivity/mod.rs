//! `landfall connectivity test`: whether an address that Landfall gives and announces works from a stranger's place on the
//! segment, tried with backends and a client of its own.
//!
//! ```text
//!  course ──► stage (makes, waits, reads, takes away) ◄── plan, manifests
//!     └─────► judge (what was seen ──► passed, failed, skipped) ──► report ──► table, JSON, JUnit
//! ```
//!
//! It touches nothing of the cluster's users: it makes a namespace of its own, a reservation for its client's addresses,
//! where no policy selects its Service a policy, and takes all of it away, however it ends.
//!
//! Invariants: what could not be tried is skipped and says why; nothing is judged that was not seen.

mod course;
mod judge;
mod manifests;
mod observer;
mod plan;
mod report;
mod stage;
mod victim;

use std::path::Path;

use anyhow::Context as _;

use crate::args::ConnectivityTest;
use crate::cluster::Cluster;
use crate::out::{End, complain, form, print, words_beside};
use crate::stops::Stops;
use crate::words::plain;
use course::Course;
use report::Report;
use stage::Stage;

/// Runs the test, and leaves nothing behind.
///
/// # Errors
/// When the cluster cannot be asked, or something of the test cannot be taken away.
pub(crate) async fn connectivity_test(
    cluster: &Cluster,
    flags: &ConnectivityTest,
) -> anyhow::Result<End> {
    if flags.output.output != crate::args::Output::Table {
        words_beside();
    }
    // A file that cannot be written is known before anything is made.
    let junit = flags.junit.as_deref().map(|path| (path, write(path, "")));
    if let Some((_, written)) = junit {
        written?;
    }
    let mut stops = Stops::new()?;
    let stage = Stage::new(cluster, flags);
    tokio::select! {
        claimed = Box::pin(stage.claim()) => claimed?,
        () = stops.next() => {
            complain!("{}", stage.by_hand());
            anyhow::bail!("interrupted");
        }
    }
    let mut report = Report::new(&flags.tests);
    let ended = {
        let mut course = Course::new(&stage, flags, &mut report);
        tokio::select! {
            ended = Box::pin(course.run()) => ended,
            () = stops.next() => Err(anyhow::anyhow!("interrupted")),
        }
    };
    // Whoever asks a second time is told what stays.
    let cleaned = tokio::select! {
        cleaned = Box::pin(stage.clear()) => cleaned,
        () = stops.next() => Err(anyhow::anyhow!("interrupted while taking the test away")),
    };
    if cleaned.is_err() {
        complain!("{}", stage.by_hand());
    }
    if let Err(error) = &ended {
        report.stop(&plain(&format!("{error:#}")));
    }
    if flags.output.output == crate::args::Output::Table {
        print(&report.summary());
    } else {
        print(&form(&report, flags.output.output, Report::draw)?);
    }
    if let Some(path) = &flags.junit {
        write(path, &report.junit())?;
    }
    cleaned.and(ended)?;
    Ok(report.end())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
