//! A look at one interface, which may go down, go away and come back meanwhile.

use std::io::ErrorKind::NetworkDown;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Context as _;
use nix::net::if_::if_nametoindex;

use crate::link::{IfIndex, Tap, Tapped};

/// What a look at an interface has brought.
#[derive(Debug)]
pub(super) enum Seen {
    Frame(Tapped),
    /// It has gone down: nothing is seen until it is up again.
    Down,
    Nothing,
}

/// An interface by its name, and what looks at it while there is one.
#[derive(Debug)]
pub(super) struct Look<'n> {
    pub(super) name: &'n str,
    tap: Option<(IfIndex, Tap)>,
}

impl<'n> Look<'n> {
    /// Does not look yet.
    pub(super) fn new(name: &'n str) -> Self {
        Self { name, tap: None }
    }

    /// Looks at the interface that has the name now; whether that is another than before.
    ///
    /// # Errors
    /// When there is none, or it may not be looked at: then nothing is.
    pub(super) fn renew(&mut self) -> anyhow::Result<bool> {
        let name = self.name;
        let index = if_nametoindex(name);
        if matches!((&self.tap, &index), (Some((before, _)), Ok(now)) if before == now) {
            return Ok(false);
        }
        self.tap = None;
        let index = index.with_context(|| format!("there is no interface {name}"))?;
        let tap = Tap::open(index).with_context(|| format!("looking at {name}"))?;
        self.tap = Some((index, tap));
        Ok(true)
    }

    pub(super) fn is_open(&self) -> bool {
        self.tap.is_some()
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tap.as_ref().map(|(_, tap)| tap.as_fd())
    }

    /// Frames the kernel dropped since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        let dropped = self.tap.as_ref().map(|(_, tap)| tap.take_dropped());
        dropped.map_or(0, |dropped| dropped.unwrap_or_default().into())
    }

    /// The next frame, into `buffer`.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn take(&self, buffer: &mut [u8]) -> anyhow::Result<Seen> {
        let Some((_, tap)) = &self.tap else {
            return Ok(Seen::Nothing);
        };
        match tap.take(buffer) {
            Ok(Some(tapped)) => Ok(Seen::Frame(tapped)),
            Ok(None) => Ok(Seen::Nothing),
            Err(error) if error.kind() == NetworkDown => Ok(Seen::Down),
            Err(error) => Err(error).with_context(|| format!("looking at {}", self.name)),
        }
    }
}
