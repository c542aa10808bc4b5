//! The keys that make frames authentic, and which of them to use while they change.
//!
//! Invariant: a key is signed with only while it is accepted here too; with every peer's word in, no frame is made that
//! a peer refuses for its key as long as all have one key in common.

use std::fmt;
use std::str::FromStr;

use ring::{digest as sha2, hmac};
use serde::{Deserialize, Serialize};

/// Bytes of a key. More than 64 are replaced by their SHA-256 in HMAC, whose first bytes are the key's public id.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=64;
/// Keys accepted at once.
const MOST_KEYS: usize = 4;

/// The first bytes of the SHA-256 of something.
pub(super) fn digest<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = sha2::digest(&sha2::SHA256, bytes);
    let mut first = [0; N];
    first
        .iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    first
}

/// The name of a key: the first four bytes of its SHA-256, eight hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits)
            .map(|id| Self(id.to_be_bytes()))
            .ok_or_else(|| KeyError::Id(text.to_owned()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// One key of the cluster. Its bytes cannot be had back, nor seen in a log.
#[derive(Clone, Debug)]
pub struct Key {
    id: KeyId,
    hmac: hmac::Key,
}

impl Key {
    /// A key of these bytes.
    ///
    /// # Errors
    /// When they are too few to be safe, or more than HMAC takes as they are.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if !LENGTHS.contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        Ok(Self {
            id: KeyId(digest(bytes)),
            hmac: hmac::Key::new(hmac::HMAC_SHA256, bytes),
        })
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub(super) const fn hmac(&self) -> &hmac::Key {
        &self.hmac
    }
}

/// The keys this node accepts, the newest first; never none.
#[derive(Clone, Debug)]
pub struct KeyRing {
    newest: Key,
    older: Vec<Key>,
}

impl KeyRing {
    /// A ring of these keys, the newest first.
    ///
    /// # Errors
    /// When there is none, or too many, or one is unfit or there twice.
    pub fn new<'a>(newest_first: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for bytes in newest_first {
            let key = Key::new(bytes)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
            if keys.len() == MOST_KEYS {
                return Err(KeyError::TooMany);
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let newest = keys.next().ok_or(KeyError::Missing)?;
        Ok(Self {
            newest,
            older: keys.collect(),
        })
    }

    /// What to publish: the keys accepted here, the newest first.
    pub fn accepted(&self) -> impl Iterator<Item = KeyId> {
        self.keys().map(Key::id)
    }

    /// The key of this name, if it is accepted.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys().find(|key| key.id == id)
    }

    /// The key to sign with, by what each live session of the others publishes as accepted: the newest that all of them
    /// accept. Where there is none, as many as possible shall hear us.
    #[must_use]
    pub fn signing<'p>(&self, peers: impl IntoIterator<Item = &'p [KeyId]>) -> &Key {
        let peers: Vec<_> = peers.into_iter().collect();
        let heard_by = |key: &Key| peers.iter().filter(|ids| ids.contains(&key.id)).count();
        self.older.iter().fold(&self.newest, |best, key| {
            if heard_by(key) > heard_by(best) {
                key
            } else {
                best
            }
        })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.older)
    }
}

/// Keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Of the wrong length.
    #[error("a key of {0} bytes; a key has 32 to 64, such as 32 from /dev/urandom")]
    Length(usize),
    /// There twice.
    #[error("key {0} is there twice; remove one of them")]
    Twice(KeyId),
    /// More than are accepted at once.
    #[error("more than 4 keys; remove the oldest")]
    TooMany,
    /// None at all.
    #[error("no key; add one of 32 random bytes")]
    Missing,
    /// Not the name of a key.
    #[error("{0:?} is no key's id; one is written with eight hexadecimal digits")]
    Id(String),
}
