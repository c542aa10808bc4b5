//! What is around every body: the header, and the code that only a holder of the key can make.
//!
//! Panic contract: opening and authenticating never panic and allocate nothing.

use ring::hmac;

use super::bytes::{Reader, Writer};
use super::keys::{Key, KeyId, KeyRing};
use super::{
    Body, Buffer, ClusterId, ETHER_TYPE, Frame, LONGEST_LIST, LONGEST_MESSAGE, LONGEST_NODE,
    LONGEST_SESSION, Refusal,
};
use crate::Mac;
use crate::ethernet::HEADER;

/// The version of the format, the first byte of every message in all versions.
pub(super) const VERSION: u8 = 1;
/// Bytes of the header before the two names.
pub(super) const FIXED: usize = 24;
/// Bytes of the code at the end: HMAC-SHA-256, whole.
pub(super) const CODE: usize = 32;

/// Bytes that are left for a body between these names and the code.
pub(super) const fn room(node: usize, session: usize) -> usize {
    LONGEST_MESSAGE - FIXED - (1 + node) - (1 + session) - CODE
}

// Whatever cannot be divided fits with the longest names: a beat's fixed fields and acknowledgements, a fence.
const _: () = assert!(
    room(LONGEST_NODE, LONGEST_SESSION) >= 28 + LONGEST_LIST * (1 + LONGEST_SESSION + 8)
        && room(LONGEST_NODE, LONGEST_SESSION) > 2 * (1 + LONGEST_NODE) + (1 + LONGEST_SESSION)
);

/// A received frame whose header was read and not believed yet.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where it came from, as it says; not authentic even if the rest is.
    pub source: Mac,
    destination: &'a [u8],
    /// Everything the code is over, but the destination.
    message: &'a [u8],
    code: &'a [u8],
    kind: u8,
    key: KeyId,
    counter: u64,
    node: &'a str,
    session: &'a str,
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the header of a frame that came to the interface with the address `me`.
    ///
    /// # Errors
    /// Why it is none of ours, or no frame at all.
    pub fn open(bytes: &'a [u8], me: Mac, cluster: ClusterId) -> Result<Self, Refusal> {
        let mut reader = Reader(bytes);
        let destination = reader.take(6).ok_or(Refusal::Truncated)?;
        let source = Mac(reader.array().ok_or(Refusal::Truncated)?);
        if reader.half().ok_or(Refusal::Truncated)? != ETHER_TYPE {
            return Err(Refusal::EtherType);
        }
        let to_group = destination.first().is_some_and(|first| first & 1 != 0);
        if !to_group && destination != me.0 {
            return Err(Refusal::NotForUs);
        }
        let payload = reader.0;
        if reader.byte().ok_or(Refusal::Truncated)? != VERSION {
            return Err(Refusal::Version);
        }
        let kind = reader.byte().ok_or(Refusal::Truncated)?;
        let length = usize::from(reader.half().ok_or(Refusal::Truncated)?);
        if length > LONGEST_MESSAGE {
            return Err(Refusal::TooLong);
        }
        let whole = payload.get(..length).ok_or(Refusal::Truncated)?;
        let signed = length.checked_sub(CODE).ok_or(Refusal::Header)?;
        let (message, code) = whole.split_at(signed);
        let mut reader = Reader(message.get(4..).ok_or(Refusal::Header)?);
        if reader.array().map(ClusterId).ok_or(Refusal::Header)? != cluster {
            return Err(Refusal::ForeignCluster);
        }
        let key = reader.array().map(KeyId).ok_or(Refusal::Header)?;
        let counter = reader.long().ok_or(Refusal::Header)?;
        let node = reader.name(LONGEST_NODE).ok_or(Refusal::Header)?;
        let session = reader.name(LONGEST_SESSION).ok_or(Refusal::Header)?;
        Ok(Self {
            source,
            destination,
            message,
            code,
            kind,
            key,
            counter,
            node,
            session,
            body: reader.0,
        })
    }

    /// What it says; nobody has found out whether its sender has a key.
    ///
    /// # Errors
    /// [`Refusal::UnknownKind`] or [`Refusal::Malformed`].
    pub fn unverified(&self) -> Result<Frame<'a>, Refusal> {
        Ok(Frame {
            node: self.node,
            session: self.session,
            body: Body::parse(self.kind, self.body)?,
        })
    }

    pub(super) const fn key(&self) -> KeyId {
        self.key
    }

    /// Whether a key made the code that this node accepts.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] or [`Refusal::WrongCode`].
    pub fn authenticate(self, keys: &KeyRing) -> Result<Authentic<'a>, Refusal> {
        let key = keys.find(self.key).ok_or(Refusal::UnknownKey)?;
        // In one piece, because only so is the comparison the library's own, which takes the same time for every code.
        let mut covered = [0; 6 + LONGEST_MESSAGE];
        let mut writer = Writer::new(&mut covered);
        writer.put(self.destination).ok_or(Refusal::TooLong)?;
        writer.put(self.message).ok_or(Refusal::TooLong)?;
        let end = writer.written();
        hmac::verify(key.hmac(), &covered[..end], self.code)
            .map(|()| Authentic(self))
            .map_err(|_| Refusal::WrongCode)
    }
}

/// A frame that a holder of the key made for this destination.
#[derive(Clone, Copy, Debug)]
pub struct Authentic<'a>(Envelope<'a>);

impl<'a> Authentic<'a> {
    /// The sender's session.
    #[must_use]
    pub const fn session(&self) -> &'a str {
        self.0.session
    }

    /// Rises with every frame of the session.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.0.counter
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// [`Refusal::UnknownKind`] or [`Refusal::Malformed`].
    pub fn frame(&self) -> Result<Frame<'a>, Refusal> {
        self.0.unverified()
    }
}

/// Writes a whole frame and returns its length; `None` if it does not fit.
pub(super) fn seal(
    frame: &Frame<'_>,
    (to, from): (Mac, Mac),
    cluster: ClusterId,
    counter: u64,
    key: &Key,
    out: &mut Buffer,
) -> Option<usize> {
    let (ethernet, payload) = out.split_at_mut(HEADER);
    let mut header = Writer::new(ethernet);
    header.put(&to.0)?;
    header.put(&from.0)?;
    header.put(&ETHER_TYPE.to_be_bytes())?;
    let mut writer = Writer::new(payload);
    writer.put(&[VERSION, frame.body.code(), 0, 0])?;
    writer.put(&cluster.0)?;
    writer.put(&key.id().0)?;
    writer.long(counter)?;
    writer.name(frame.node)?;
    writer.name(frame.session)?;
    frame.body.emit(&mut writer)?;
    let signed = writer.written();
    let length = signed + CODE;
    if length > payload.len() {
        return None;
    }
    payload[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    let mut context = hmac::Context::with_key(key.hmac());
    context.update(&to.0);
    context.update(&payload[..signed]);
    payload[signed..length].copy_from_slice(context.sign().as_ref());
    Some(HEADER + length)
}
