//! Before TC had links (Linux 6.6): filters in the `clsact` queueing discipline, which outlive us
//! by themselves.

use std::io;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use landfall_bpf_lb_common::names;

use super::attached::AttachError;

/// Priority of our filters: before everybody else, as with links.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// Links for TC programs came with Linux 6.6.
pub(crate) fn has_tc_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Adds our filter for this direction, or makes the one that is there run this program.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    direction: TcAttachType,
) -> Result<(), ProgramError> {
    // It may be there already, ours or somebody else's.
    let _ = tc::qdisc_add_clsact(name);
    let options = NlOptions {
        priority: FILTER_PRIORITY,
        handle: FILTER_HANDLE,
        classid: None,
    };
    let id = match program.attach_with_options(name, direction, TcAttachOptions::Netlink(options)) {
        Ok(id) => id,
        Err(_) => {
            let link = SchedClassifierLink::attached(
                name,
                direction,
                FILTER_PRIORITY,
                FILTER_HANDLE,
                None,
            )
            .map_err(ProgramError::IOError)?;
            program.attach_to_link(link)?
        }
    };
    // Dropping it would take the filter off.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes our filters off; one that is not there is no error.
pub(super) fn detach(name: &str) -> Result<(), AttachError> {
    for (direction, program) in [
        (TcAttachType::Egress, names::EGRESS),
        (TcAttachType::Ingress, names::TC),
    ] {
        if let Err(tc::TcError::IoError(source)) =
            tc::qdisc_detach_program(name, direction, program)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(AttachError::Interface {
                name: name.to_owned(),
                source,
            });
        }
    }
    Ok(())
}
