//! The one thing of `bpf(2)` that the library does not offer: detaching a pinned link now.
//!
//! Removing its pin detaches a link too, but only when the kernel gets round to it; until then the
//! interface looks taken to whoever attaches next.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `union bpf_attr`, as far as the two commands read it.
#[repr(C)]
#[derive(Default)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct LinkDetach {
    fd: u32,
}

/// Detaches the link pinned at `path`. One whose interface is gone is detached already.
pub(crate) fn detach_link(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let get = ObjectGet {
        path: name.as_ptr() as u64,
        ..ObjectGet::default()
    };
    let fd = bpf(BPF_OBJ_GET, &get)?;
    // SAFETY: a descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let detach = LinkDetach {
        fd: fd.as_raw_fd().cast_unsigned(),
    };
    bpf(BPF_LINK_DETACH, &detach).map(drop)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are plain integers, alive during the call, and as long as said; the
    // path they may point to is alive too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
