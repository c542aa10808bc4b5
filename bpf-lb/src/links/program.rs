//! The programs and their pinned links: made, replaced in place, taken off.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use landfall_bpf_lb_common::names;

use super::attached::{AttachError, XdpPath};
use crate::sys;

/// As often as libbpf does, and with a pause of twice as long each time.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Has the kernel take a program in. A signal makes its verifier give up half-way and say so: then once more, and once what
/// interrupts the process again and again, such as a freezer, may be over.
pub(crate) fn uninterrupted(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    let was_interrupted = |error: &ProgramError| match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error() == Some(libc::EAGAIN),
        _ => false,
    };
    let mut loaded = load();
    for attempt in 1..ATTEMPTS {
        if !loaded.as_ref().is_err_and(was_interrupted) {
            break;
        }
        thread::sleep(PAUSE * 2_u32.pow(attempt));
        loaded = load();
    }
    loaded
}

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
        uninterrupted(|| program.load())?;
    }
    Ok(program)
}

pub(crate) fn feeder(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut(names::FEED)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

/// The TC program of this name. That for received packets is loaded when it is first asked for, as above.
pub(crate) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()?;
    if name == names::TC && program.fd().is_err() {
        uninterrupted(|| program.load())?;
    }
    Ok(program)
}

/// The id of the program that runs on this path.
pub(crate) fn id_on(ebpf: &mut Ebpf, path: XdpPath) -> Result<u32, ProgramError> {
    Ok(match path {
        XdpPath::Tc => classifier(ebpf, names::TC)?.info()?.id(),
        _ => program_on(ebpf, path)?.info()?.id(),
    })
}

/// Links a TC program to an interface, before everybody else's: one that ends the chain would let packets pass it by.
/// Ours never ends it.
pub(super) fn create_tc(
    ebpf: &mut Ebpf,
    program: &str,
    direction: TcAttachType,
    name: &str,
) -> Result<FdLink, ProgramError> {
    let program = classifier(ebpf, program)?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(name, direction, order)?;
    FdLink::try_from(program.take_link(id)?).map_err(wrong_link)
}

pub(super) fn create_xdp(
    ebpf: &mut Ebpf,
    ifindex: u32,
    path: XdpPath,
) -> Result<FdLink, ProgramError> {
    let mode = match path {
        XdpPath::Generic => XdpMode::Skb,
        _ => XdpMode::Driver,
    };
    let program = program_on(ebpf, path)?;
    let id = program.attach_to_if_index(ifindex, mode)?;
    FdLink::try_from(program.take_link(id)?).map_err(wrong_link)
}

/// Makes the pinned link run this program; `false` if its interface is gone.
pub(super) fn replace_on(ebpf: &mut Ebpf, path: XdpPath, pin: &Path) -> Result<bool, ProgramError> {
    if path == XdpPath::Tc {
        return replace_tc(ebpf, names::TC, pin);
    }
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
pub(super) fn replace_tc(ebpf: &mut Ebpf, program: &str, pin: &Path) -> Result<bool, ProgramError> {
    let link = SchedClassifierLink::try_from(open(pin)?).map_err(wrong_link)?;
    let program = classifier(ebpf, program)?;
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

/// Pins a program that no link holds, in the place of what was pinned there, which is there until then.
pub(super) fn pin_program(program: &mut SchedClassifier, path: &Path) -> Result<(), AttachError> {
    let failed = |source| AttachError::Pin {
        path: path.to_owned(),
        source,
    };
    // No index ends this name, so that nobody takes it for a pin; a bpffs allows no dots.
    let mut new = path.to_owned().into_os_string();
    new.push("-new");
    let new = Path::new(&new);
    remove_pin(new)?;
    program
        .pin(new)
        .map_err(|error| failed(io::Error::other(error)))?;
    fs::rename(new, path).map_err(|error| {
        if let Err(error) = fs::remove_file(new) {
            tracing::debug!(pin = %new.display(), %error, "left");
        }
        failed(error)
    })
}

/// Detaches a link whose pin stays; one that is not there is no error. Whatever else is wrong with it, without its pin it
/// goes.
pub(super) fn detach_link(path: &Path) -> Result<(), AttachError> {
    match sys::detach_link(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => remove_pin(path),
        _ => Ok(()),
    }
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
