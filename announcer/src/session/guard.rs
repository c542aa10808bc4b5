//! One announcer a node: a name in the node's network namespace that the kernel frees when its holder dies, however it
//! dies. Only therefore may a new process take its node's Lease from one that nobody hears.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::names::NodeName;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(200);

/// Held as long as this process may answer for anything.
#[derive(Debug)]
pub struct Guard {
    _name: UnixListener,
}

impl Guard {
    /// Takes the name; `None` while another process has it.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn try_take(node: &NodeName) -> std::io::Result<Option<Self>> {
        // Abstract names are at most 107 bytes; node names at most 253.
        let name: String = format!("landfall-announcer/{node}")
            .chars()
            .take(100)
            .collect();
        let address = SocketAddr::from_abstract_name(name)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Some(Self { _name: listener })),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the name; `None` when the token is cancelled first.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the name is taken.
    pub async fn take(node: &NodeName, token: &CancellationToken) -> std::io::Result<Option<Self>> {
        let mut told = false;
        loop {
            if let Some(guard) = Self::try_take(node)? {
                return Ok(Some(guard));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!("another announcer runs on this node; waiting for its end");
            }
            tokio::select! {
                () = token.cancelled() => return Ok(None),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_announcer_waits_until_the_first_is_gone() {
        let node = NodeName::new(format!("guard-test-{}", std::process::id()));
        let first = Guard::try_take(&node).unwrap();
        assert!(first.is_some());
        assert!(Guard::try_take(&node).unwrap().is_none());
        drop(first);
        assert!(Guard::try_take(&node).unwrap().is_some());
    }
}
