//! The two programs and their pinned links: made, replaced in place, taken off.

use std::fs;
use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SchedClassifier, Xdp, XdpMode};
use landfall_bpf_lb_common::names;

use super::attached::{AttachError, XdpPath};
use crate::sys;

pub(crate) fn xdp_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut(names::XDP)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

/// The program that runs on this path. That for frames of several buffers is loaded when it is first asked for: few
/// nodes need it, and the verifier takes its time.
pub(super) fn program_on(ebpf: &mut Ebpf, path: XdpPath) -> Result<&mut Xdp, ProgramError> {
    let program: &mut Xdp = ebpf
        .program_mut(path.program())
        .ok_or(ProgramError::NotLoaded)?
        .try_into()?;
    if path == XdpPath::Frags && program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

pub(crate) fn feeder(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut(names::FEED)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

pub(crate) fn classifier(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, ProgramError> {
    ebpf.program_mut(names::EGRESS)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

pub(super) fn create_xdp(
    ebpf: &mut Ebpf,
    ifindex: u32,
    path: XdpPath,
) -> Result<FdLink, ProgramError> {
    let mode = match path {
        XdpPath::Native | XdpPath::Frags => XdpMode::Driver,
        XdpPath::Generic => XdpMode::Skb,
    };
    let program = program_on(ebpf, path)?;
    let id = program.attach_to_if_index(ifindex, mode)?;
    FdLink::try_from(program.take_link(id)?).map_err(wrong_link)
}

/// Makes the pinned link run this program; `false` if its interface is gone.
pub(super) fn replace_xdp(
    ebpf: &mut Ebpf,
    path: XdpPath,
    pin: &Path,
) -> Result<bool, ProgramError> {
    let link = XdpLink::try_from(open(pin)?).map_err(wrong_link)?;
    let program = program_on(ebpf, path)?;
    still_there(
        program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map(drop),
    )
}

/// Makes the pinned link run this program; `false` if its interface is gone.
pub(super) fn replace_egress(ebpf: &mut Ebpf, path: &Path) -> Result<bool, ProgramError> {
    let link = SchedClassifierLink::try_from(open(path)?).map_err(wrong_link)?;
    let program = classifier(ebpf)?;
    still_there(
        program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map(drop),
    )
}

fn still_there(result: Result<(), ProgramError>) -> Result<bool, ProgramError> {
    match result {
        Ok(()) => Ok(true),
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> Result<FdLink, ProgramError> {
    Ok(PinnedLink::from_pin(path).map_err(wrong_link)?.into())
}

pub(super) fn wrong_link(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(error) => ProgramError::SyscallError(error),
        other => ProgramError::IOError(io::Error::other(other)),
    }
}

pub(super) fn pin(link: FdLink, path: &Path) -> Result<(), AttachError> {
    link.pin(path).map(drop).map_err(|error| AttachError::Pin {
        path: path.to_owned(),
        source: io::Error::other(error),
    })
}

/// Detaches a link and removes its pin; one that is not there is no error.
pub(super) fn remove_pin(path: &Path) -> Result<(), AttachError> {
    let failed = |source| AttachError::Pin {
        path: path.to_owned(),
        source,
    };
    match sys::detach_link(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever else is wrong with the link, without its pin it goes.
        Err(error) => {
            tracing::debug!(pin = %path.display(), %error, "detaching by removing the pin")
        }
        Ok(()) => {}
    }
    fs::remove_file(path).map_err(failed)
}
