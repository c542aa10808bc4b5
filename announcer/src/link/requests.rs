//! Requests to the kernel over netlink, on a socket of their own and never without an end.
//!
//! A socket that also carries events loses what does not fit, the answers to requests among it. One that carries
//! nothing else does not; what is lost all the same, or never comes, ends a request by its time.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use rtnetlink::{Handle, new_connection};
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take; a dump of a busy node's tables takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A netlink socket for requests; it is closed when this is dropped.
pub(super) struct Requests {
    pub(super) handle: Handle,
    _connection: AbortOnDropHandle<()>,
}

impl Requests {
    /// Opens the socket, in the network namespace of this thread.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) =
            new_connection().context("opening a netlink socket for requests")?;
        Ok(Self {
            handle,
            _connection: AbortOnDropHandle::new(tokio::spawn(connection)),
        })
    }
}

/// The outcome of a request, or an error when it does not come.
///
/// # Errors
/// When the time is over; the socket is of no more use then.
pub(super) async fn answered<T>(request: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, request)
        .await
        .context("the kernel did not answer a request in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_answer_is_lost_ends() {
        let lost = std::future::pending::<()>();
        assert!(answered(lost).await.is_err());
        assert_eq!(answered(async { 7 }).await.ok(), Some(7));
    }
}
