//! What programs beside the announcer have in common that somebody looks by: they print an object a line, and end with
//! their standard input.

use std::io::{self, BufRead as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

/// Waits until one of these can be read or something is said on standard input, but no longer than this: what is said, often
/// nothing. None when standard input is closed.
pub(crate) fn wait<'f>(
    fds: impl IntoIterator<Item = BorrowedFd<'f>>,
    most: Duration,
) -> anyhow::Result<Option<Vec<u8>>> {
    let input = io::stdin();
    let mut polled = vec![PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let fds = fds.into_iter();
    polled.extend(fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    let most = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, most) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("waiting for something to see"),
    }
    let is_readable = polled
        .first()
        .and_then(PollFd::revents)
        .is_some_and(|events| !events.is_empty());
    if !is_readable {
        return Ok(Some(Vec::new()));
    }
    // All that was read goes: what stayed behind in the buffer would not be waited for.
    let mut input = input.lock();
    let said = input.fill_buf().map(<[u8]>::to_vec).unwrap_or_default();
    input.consume(said.len());
    Ok((!said.is_empty()).then_some(said))
}

/// Prints a line; false when nobody reads.
pub(crate) fn print(out: &mut impl Write, line: &impl Serialize) -> anyhow::Result<bool> {
    let mut text = serde_json::to_vec(line).context("writing a line")?;
    text.push(b'\n');
    match out.write_all(&text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("printing"),
    }
}

/// A time, to the microsecond.
pub(crate) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
