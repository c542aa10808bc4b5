//! Numbers and names into bytes and back, big end first.
//!
//! Panic contract: neither direction panics; who reads beyond the end, or writes beyond it, gets `None`.

use std::time::Duration;

/// Bytes still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn half(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn micros(&mut self) -> Option<Duration> {
        self.word()
            .map(|micros| Duration::from_micros(micros.into()))
    }

    pub(super) fn millis(&mut self) -> Option<Duration> {
        self.word()
            .map(|millis| Duration::from_millis(millis.into()))
    }

    /// A name of at least one byte and at most `longest`.
    pub(super) fn name(&mut self, longest: usize) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        if length == 0 || length > longest {
            return None;
        }
        std::str::from_utf8(self.take(length)?).ok()
    }
}

/// Room still to be written to.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    room: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(room: &'a mut [u8]) -> Self {
        Self { room, written: 0 }
    }

    pub(super) const fn written(&self) -> usize {
        self.written
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.written + bytes.len();
        self.room.get_mut(self.written..end)?.copy_from_slice(bytes);
        self.written = end;
        Some(())
    }

    pub(super) fn byte(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub(super) fn long(&mut self, value: u64) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Whole microseconds; more than 71 minutes are 71 minutes.
    pub(super) fn micros(&mut self, time: Duration) -> Option<()> {
        self.word(time.as_micros())
    }

    /// Whole milliseconds; more than 49 days are 49 days.
    pub(super) fn millis(&mut self, time: Duration) -> Option<()> {
        self.word(time.as_millis())
    }

    fn word(&mut self, value: u128) -> Option<()> {
        self.put(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes())
    }

    pub(super) fn name(&mut self, name: &str) -> Option<()> {
        self.byte(u8::try_from(name.len()).ok()?)?;
        self.put(name.as_bytes())
    }
}
