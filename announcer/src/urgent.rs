//! Threads before ordinary ones: for what stands between a decision and an answer.
//!
//! A node that is busy gives an announcer its share of the processors, and takes its time until then: at each of the
//! steps from a peer's word to the first answer. So these run on threads of their own, real-time ones where the kernel
//! permits it. What is slow or large (requests, watches, programs for the kernel) stays with the others.
//!
//! Invariant: nothing on them waits for the network or for the disk, and nothing takes more of a processor than its own
//! file says.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::link::scheduling::{self, Priority, Rank};

/// Starts a thread of this name, and a runtime on it, until the token is cancelled.
///
/// # Errors
/// The operating system's, when it has no more threads.
pub fn start(name: &str, end: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let priority = scheduling::raise(Rank::Answers);
            if priority != Priority::RealTime {
                tracing::info!(%priority, "answers may wait for their turn on a busy node");
            }
            runtime.block_on(end.cancelled());
        })?;
    Ok(handle)
}
