//! Before TC had links (Linux 6.6): a filter in the `clsact` queueing discipline, which outlives us
//! by itself.

use std::io;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use landfall_bpf_lb_common::names;

use super::attached::AttachError;

/// Priority of our filter: before everybody else, as with links.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// Links for TC programs came with Linux 6.6.
pub(crate) fn has_tc_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Adds our filter, or makes the one that is there run this program.
pub(super) fn attach(program: &mut SchedClassifier, name: &str) -> Result<(), ProgramError> {
    // It may be there already, ours or somebody else's.
    let _ = tc::qdisc_add_clsact(name);
    let options = NlOptions {
        priority: FILTER_PRIORITY,
        handle: FILTER_HANDLE,
        classid: None,
    };
    let id = match program.attach_with_options(
        name,
        TcAttachType::Egress,
        TcAttachOptions::Netlink(options),
    ) {
        Ok(id) => id,
        Err(_) => {
            let link = SchedClassifierLink::attached(
                name,
                TcAttachType::Egress,
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

/// Takes our filter off; one that is not there is no error.
pub(super) fn detach(name: &str) -> Result<(), AttachError> {
    match tc::qdisc_detach_program(name, TcAttachType::Egress, names::EGRESS) {
        Err(tc::TcError::IoError(error)) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Interface {
                name: name.to_owned(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}
