//! Looking at packets: samples of them, as the programs take them for as long as somebody looks.
//!
//! ```text
//!  Samples ── until when, which ──► LF_SAMPLING ◄── looks ── Director ── puts in the programs that take samples
//!     ▲                                 │
//!     └────────── LF_SAMPLES ◄──────────┴── the programs, until then
//! ```
//! Whoever looks and the director are two processes, and share nothing but pinned maps: who may open those may do all
//! that the director may.
//!
//! Invariant: nobody looks for longer than [`PATIENCE`] after the last word of whoever does, however that one ends.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use landfall_bpf_lb_common::records::SamplingEntry;
use landfall_bpf_lb_common::sample::{CAPTURED, Sample, bit};
use landfall_bpf_lb_common::{Action, Verdict, names};

use crate::words::Words;

/// For so long a word that somebody looks is believed.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Why no samples can be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum SamplesError {
    /// There is no director, or an older one.
    #[error(
        "no director that takes samples is loaded on this node ({path} has no {})",
        names::SAMPLING
    )]
    NotLoaded { path: PathBuf },
    /// Only one can read a ring buffer.
    #[error("somebody else is looking at this node's packets")]
    Taken,
    /// Whether somebody else looks could not be found out.
    #[error("{path}: {source}")]
    Lock { path: PathBuf, source: io::Error },
    /// A map could not be opened or read.
    #[error("reading samples: {0}")]
    Map(#[from] MapError),
}

/// A packet, as a program was done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// When, on the monotonic clock.
    pub time: Duration,
    /// What became of it.
    pub verdict: Verdict,
    /// The interface that it came in by, or, of a reply, leaves by.
    pub ifindex: u32,
    /// Another one that it was sent out of.
    pub out: Option<u32>,
    /// Its whole length.
    pub length: u32,
    /// The VLAN tag that was taken off it.
    pub tag: Option<u16>,
    /// Its first bytes as it left the program.
    pub bytes: Vec<u8>,
}

impl Sampled {
    /// What a program wrote, if this is what it writes.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Sample>() {
            return None;
        }
        // SAFETY: as many bytes as asserted, and any are a sample: plain integers, without padding.
        let sample: Sample = unsafe { bytes.as_ptr().cast::<Sample>().read_unaligned() };
        let captured = (sample.captured as usize).min(CAPTURED);
        let verdict = *Verdict::ALL.get(sample.verdict as usize)?;
        let is_redirected = verdict.action() == Action::Redirect;
        Some(Self {
            time: Duration::from_nanos(sample.time),
            verdict,
            ifindex: sample.ifindex,
            out: is_redirected.then_some(sample.out),
            length: sample.length,
            tag: u16::try_from(sample.tag).ok().filter(|tag| *tag != 0),
            bytes: sample.bytes[..captured].to_vec(),
        })
    }
}

/// The words by which who looks and who takes samples know of each other.
#[derive(Debug)]
pub(crate) struct Sampling(Words);

impl Sampling {
    pub(crate) fn open(directory: &Path) -> Result<Self, MapError> {
        let data = MapData::from_pin(directory.join(names::SAMPLING))?;
        let words = size_of::<SamplingEntry>() / size_of::<u64>();
        Ok(Self(Words::map(&data, words)?))
    }

    /// Whether somebody looks.
    pub(crate) fn is_wanted(&self) -> bool {
        self.until().load(Ordering::Relaxed) > nanoseconds(monotonic())
    }

    /// Nobody looks, unless somebody has begun just now.
    pub(crate) fn forget(&self) {
        let until = self.until();
        let seen = until.load(Ordering::Relaxed);
        if seen != 0 && seen <= nanoseconds(monotonic()) {
            // Written meanwhile: then somebody has.
            let _ = until.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn want(&self, verdicts: u64, until: Duration) {
        if let [_, of, ..] = self.0.all() {
            of.store(verdicts, Ordering::Relaxed);
        }
        self.until().store(nanoseconds(until), Ordering::Relaxed);
    }

    fn until(&self) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.0.all().first().unwrap_or(&NONE)
    }
}

/// What samples come by.
struct Ring {
    /// The kernel's number of the map: it is another one after a pause.
    id: u32,
    samples: RingBuf<MapData>,
    missed: PerCpuArray<MapData, u64>,
}

impl Ring {
    fn open(directory: &Path) -> Result<Self, MapError> {
        let pin = |name| MapData::from_pin(directory.join(name));
        let data = pin(names::SAMPLES)?;
        Ok(Self {
            id: data.info()?.id(),
            samples: Map::RingBuf(data).try_into()?,
            missed: Map::PerCpuArray(pin(names::MISSED)?).try_into()?,
        })
    }
}

/// A look at the packets of this node. One at a time: as long as this lives nobody else can.
pub struct Samples {
    directory: PathBuf,
    sampling: Sampling,
    /// There as soon as samples are taken.
    ring: Option<Ring>,
    /// What was taken before is somebody else's.
    since: Duration,
    _lock: File,
}

impl Samples {
    /// Looks at what the director does that has its maps and links below `pin_dir`. Nothing is taken yet.
    ///
    /// # Errors
    /// See [`SamplesError`].
    pub fn open(pin_dir: &Path) -> Result<Self, SamplesError> {
        let directory = pin_dir.join("maps");
        if !directory.join(names::SAMPLING).exists() {
            return Err(SamplesError::NotLoaded { path: directory });
        }
        let failed = |source| SamplesError::Lock {
            path: directory.clone(),
            source,
        };
        // The kernel takes the lock from whoever ends, in whatever way.
        let lock = File::open(&directory).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SamplesError::Taken),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            sampling: Sampling::open(&directory)?,
            ring: None,
            since: monotonic(),
            directory,
            _lock: lock,
        })
    }

    /// Wants samples of packets with these verdicts, for [`PATIENCE`]. To be said every second. Whether samples are taken
    /// by now.
    ///
    /// # Errors
    /// If the director's maps have gone.
    pub fn want(&mut self, verdicts: &[Verdict]) -> Result<bool, SamplesError> {
        let sampling = self.directory.join(names::SAMPLING);
        if !sampling.exists() {
            return Err(SamplesError::NotLoaded {
                path: self.directory.clone(),
            });
        }
        let verdicts = verdicts.iter().fold(0, |all, verdict| all | bit(*verdict));
        self.sampling.want(verdicts, monotonic() + PATIENCE);
        match Ring::open(&self.directory) {
            Ok(ring) if self.ring.as_ref().is_none_or(|has| has.id != ring.id) => {
                self.ring = Some(ring);
            }
            Ok(_) => {}
            Err(error) if is_missing(&error) => self.ring = None,
            Err(error) => return Err(error.into()),
        }
        Ok(self.ring.is_some())
    }

    /// The samples that there are, oldest first.
    pub fn take(&mut self) -> Vec<Sampled> {
        let mut taken = Vec::new();
        if let Some(ring) = &mut self.ring {
            while let Some(bytes) = ring.samples.next() {
                taken.extend(Sampled::read(&bytes).filter(|sample| sample.time >= self.since));
            }
        }
        taken
    }

    /// How many packets were wanted and not taken, since samples are.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn missed(&self) -> Result<u64, SamplesError> {
        let Some(ring) = &self.ring else {
            return Ok(0);
        };
        Ok(ring.missed.get(&0, 0)?.iter().sum())
    }

    /// Readable when there are samples.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(|ring| ring.samples.as_fd())
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.sampling.want(0, Duration::ZERO);
    }
}

fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::NotFound)
}

/// The clock of the samples.
#[must_use]
pub fn monotonic() -> Duration {
    // SAFETY: all zeros is a valid structure for the call to fill.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
        now
    };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
