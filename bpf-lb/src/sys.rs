//! System calls that the library does not offer: detaching a pinned link now, reading a map in
//! batches, and waiting until every packet on its way has passed.
//!
//! Removing its pin detaches a link too, but only when the kernel gets round to it; until then the
//! interface looks taken to whoever attaches next. Read one by one, a large table costs two system
//! calls an entry.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_QUERY: libc::c_long = 16;
/// The chains of TC programs of an interface.
pub(crate) const BPF_TCX_INGRESS: u32 = 46;
pub(crate) const BPF_TCX_EGRESS: u32 = 47;
/// The kernel's limit of a chain (`BPF_MPROG_MAX`).
const CHAIN: usize = 64;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// Returns once every packet that was in a program has left it: the programs run in RCU's read-side
/// sections, and this command waits for those to end.
pub(crate) fn let_packets_pass() -> io::Result<()> {
    // SAFETY: a plain system call.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 {
        // A kernel without it (nohz_full): no packet takes as long as this.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

/// `union bpf_attr` of the batch commands.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Calls `each` with every entry of the hash map `map`, `size` at a time.
pub(crate) fn for_each<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    size: usize,
    mut each: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut keys = vec![K::default(); size];
    let mut values = vec![V::default(); size];
    // Where the next batch begins: the kernel's word, of four bytes for a hash map.
    let mut position = [0u64; 8];
    let mut first = true;
    loop {
        let mut batch = Batch {
            in_batch: if first { 0 } else { position.as_ptr() as u64 },
            out_batch: position.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(size).map_err(io::Error::other)?,
            fd: map.as_raw_fd().cast_unsigned(),
            ..Batch::default()
        };
        // SAFETY: keys and values have room for `count` entries of the map's own sizes, which the
        // caller's types are, and all of it is alive during the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut batch,
                size_of::<Batch>(),
            )
        };
        let error = (result < 0).then(io::Error::last_os_error);
        let last = match &error {
            Some(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Some(error) => return Err(io::Error::from(error.kind())),
            None => false,
        };
        let found = batch.count as usize;
        for (key, value) in keys.iter().zip(&values).take(found) {
            each(key, value);
        }
        if last {
            return Ok(());
        }
        first = false;
    }
}

/// `union bpf_attr` of the query.
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    unused: u32,
    more: [u64; 4],
}

/// The ids of the programs in a chain of an interface, in their order (tcx, Linux 6.6).
///
/// The library's query opens every program it finds, which takes `CAP_SYS_ADMIN`; the ids take `CAP_NET_ADMIN`.
pub(crate) fn chain(ifindex: u32, chain: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; CHAIN];
    let mut query = Query {
        ifindex,
        attach_type: chain,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(CHAIN).map_err(io::Error::other)?,
        ..Query::default()
    };
    // SAFETY: `ids` has room for as many as said, and both are alive during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(query.count as usize);
    Ok(ids)
}

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
