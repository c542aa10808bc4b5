//! A map as memory of this process.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::{MapData, MapError};

/// A map of eight-byte words as memory of ours: it is read and written without a system call.
#[derive(Debug)]
pub(crate) struct Words {
    memory: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the memory is shared with the kernel anyway, and only touched by atomic operations.
unsafe impl Send for Words {}

impl Words {
    /// Maps the map `data`, whose elements have `size` words.
    pub(crate) fn map(data: &MapData, size: usize) -> Result<Self, MapError> {
        let length = data.info()?.max_entries() as usize * size;
        // SAFETY: a new mapping, placed by the kernel, of a map made to be mapped.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(memory) {
            Some(mapped) if memory != libc::MAP_FAILED => Ok(Self {
                memory: mapped.cast(),
                length,
            }),
            _ => Err(MapError::IoError(io::Error::last_os_error())),
        }
    }

    pub(crate) fn all(&self) -> &[AtomicU64] {
        // SAFETY: `length` words are mapped as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped; nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length * size_of::<u64>()) };
    }
}
