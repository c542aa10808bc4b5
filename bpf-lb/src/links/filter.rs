//! Before TC had links (Linux 6.6): filters in the `clsact` queueing discipline, which outlive us
//! by themselves.
//!
//! Invariant: a filter is ours by its name; whatever else is where ours belongs is left alone.

use aya::programs::links::Link;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use landfall_bpf_lb_common::names;

use super::attached::AttachError;
use super::listing::{self, Filter};

/// Priority of our filters: before everybody else, as with links.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// One of the two places of an interface where packets meet a filter of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ingress,
    Egress,
}

impl Side {
    const fn direction(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    /// Our program there, whose name its filter has.
    const fn program(self) -> &'static str {
        match self {
            Self::Ingress => names::TC,
            Self::Egress => names::EGRESS,
        }
    }

    /// As `tc` says it.
    const fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The hooks of the `clsact` discipline: `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS`.
    const fn hook(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }

    fn is_ours(self, filter: &Filter) -> bool {
        filter.is_bpf_of_all() && filter.name.as_deref() == Some(self.program())
    }
}

/// Links for TC programs came with Linux 6.6.
pub(crate) fn has_tc_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Adds our filter on this side, or makes the one that is there run this program; whether it was there.
pub(super) fn attach(
    program: &mut SchedClassifier,
    ifindex: u32,
    name: &str,
    side: Side,
) -> Result<bool, AttachError> {
    let failed = |source| AttachError::Program {
        program: side.program(),
        name: name.to_owned(),
        source,
    };
    has_hooks(ifindex, name)?;
    let was_there = match in_our_place(ifindex, name, side)? {
        None => false,
        Some(filter) if side.is_ours(&filter) => true,
        Some(filter) => {
            return Err(AttachError::Taken {
                name: name.to_owned(),
                direction: side.word(),
                program: side.program(),
                filter: filter.to_string(),
            });
        }
    };
    if was_there {
        replace(program, name, side)
    } else {
        // Should somebody be faster, the kernel refuses this.
        add(program, name, side)
    }
    .map_err(failed)?;
    Ok(was_there)
}

/// Has the interface a `clsact` discipline: it may be there already, ours or somebody else's, and so may another one be,
/// that knows no packets that leave.
fn has_hooks(ifindex: u32, name: &str) -> Result<(), AttachError> {
    if tc::qdisc_add_clsact(name).is_ok() {
        return Ok(());
    }
    match listing::discipline(ifindex) {
        Ok(Some(kind)) if kind != "clsact" => Err(AttachError::OtherDiscipline {
            name: name.to_owned(),
            kind,
        }),
        // Without one, adding the filter fails and says why.
        _ => Ok(()),
    }
}

fn add(program: &mut SchedClassifier, name: &str, side: Side) -> Result<(), ProgramError> {
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: FILTER_PRIORITY,
        handle: FILTER_HANDLE,
        classid: None,
    });
    let id = program.attach_with_options(name, side.direction(), options)?;
    // Dropping it would take the filter off.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn replace(program: &mut SchedClassifier, name: &str, side: Side) -> Result<(), ProgramError> {
    let id = program.attach_to_link(link(name, side, FILTER_PRIORITY, FILTER_HANDLE)?)?;
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn link(
    name: &str,
    side: Side,
    priority: u16,
    handle: TcHandle,
) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(name, side.direction(), priority, handle, None)
        .map_err(ProgramError::IOError)
}

/// Whether our filter is on this side.
pub(super) fn is_there(ifindex: u32, name: &str, side: Side) -> Result<bool, AttachError> {
    let filters = filters(ifindex, name, side)?;
    Ok(filters.iter().any(|filter| side.is_ours(filter)))
}

/// Takes our filter on this side off; one that is not there is no error.
pub(super) fn detach(ifindex: u32, name: &str, side: Side) -> Result<(), AttachError> {
    let filters = filters(ifindex, name, side)?;
    for ours in filters.iter().filter(|filter| side.is_ours(filter)) {
        link(name, side, ours.preference, ours.handle.into())
            .and_then(Link::detach)
            .map_err(|source| AttachError::Program {
                program: side.program(),
                name: name.to_owned(),
                source,
            })?;
    }
    Ok(())
}

/// What leaves our filter no room, or is it. All of one preference are of one kind and one protocol, and tell each other
/// by handles.
fn in_our_place(ifindex: u32, name: &str, side: Side) -> Result<Option<Filter>, AttachError> {
    let is_in_the_way = |filter: &Filter| {
        let is_at_ours = TcHandle::from(filter.handle) == FILTER_HANDLE;
        filter.preference == FILTER_PRIORITY && (is_at_ours || !filter.is_bpf_of_all())
    };
    let filters = filters(ifindex, name, side)?;
    Ok(filters.into_iter().find(is_in_the_way))
}

fn filters(ifindex: u32, name: &str, side: Side) -> Result<Vec<Filter>, AttachError> {
    listing::filters(ifindex, side.hook()).map_err(|source| AttachError::Interface {
        name: name.to_owned(),
        source,
    })
}
