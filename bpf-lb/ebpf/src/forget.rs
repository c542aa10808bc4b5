//! Making the verifier forget what it knows of a number.
//!
//! It follows every way through a program, and where two ways meet again they are one to it only if it
//! knows the same of both. What a packet has passed by (tags, options, extension headers, TCP or UDP)
//! would be known to the end, and each such difference would multiply all the ways behind it. A number that
//! was added to this zero is any number.
//!
//! Invariant: what is proven of a number before says nothing about the number after, to the compiler either:
//! it checks anew.

use core::hint::black_box;

/// No offset into a packet's headers is as large; the verifier must know a bound.
const OFFSETS: usize = 1 << 10;

/// A zero of which neither the compiler nor the verifier knows that it is one.
#[derive(Clone, Copy)]
pub(crate) struct Zero(usize);

impl Zero {
    /// From any number that the verifier does not know, as the length of a frame.
    #[inline(always)]
    pub(crate) fn from(unknown: usize) -> Self {
        Self(unknown ^ black_box(unknown))
    }

    /// The same flags or number, of any value.
    #[inline(always)]
    pub(crate) fn byte(self, value: u8) -> u8 {
        value.wrapping_add(self.0 as u8)
    }

    /// The same number, of any value.
    #[inline(always)]
    pub(crate) fn word(self, value: u32) -> u32 {
        value.wrapping_add(self.0 as u32)
    }

    /// The same offset into a packet's headers, anywhere in them.
    #[inline(always)]
    pub(crate) fn offset(self, value: usize) -> usize {
        (value + self.0) % OFFSETS
    }
}
