//! Messages between nodes that need not share a segment: datagrams, authentic by the same keys as the frames.
//!
//! ```text
//!  0        1      2        10      10 + 36 × count
//!  version  count  cluster  codes   message
//! ```
//! A code is the id of a key, four bytes, and the HMAC-SHA-256 by it over a word of its own, both addresses, the cluster
//! and the message. There is one for each key of the sender, so that nobody need know which of them the other accepts
//! while they change. The addresses are not carried: both ends know them, and a letter opened elsewhere is not authentic.
//!
//! What makes a letter fresh is for the message to say.

use std::net::IpAddr;

use ring::hmac;

use super::keys::{KeyId, KeyRing};
use super::{ClusterId, Refusal};

const VERSION: u8 = 1;
const CODE: usize = 32;
const MOST_CODES: usize = 4;
/// No frame's authentic bytes begin like this: they begin with a version.
const WORD: &[u8] = b"landfall letter";
/// Bytes of a letter besides its message, at most.
pub const COVER: usize = 2 + 8 + MOST_CODES * (4 + CODE);

/// The letter that carries `message` from one address to another.
#[must_use]
pub fn seal(cluster: ClusterId, ring: &KeyRing, way: (IpAddr, IpAddr), message: &[u8]) -> Vec<u8> {
    let covered = covered(cluster, way, message);
    let mut letter = vec![VERSION, 0];
    letter.extend(cluster.0);
    for key in ring.keys().take(MOST_CODES) {
        letter[1] += 1;
        letter.extend(key.id().0);
        letter.extend(hmac::sign(key.hmac(), &covered).as_ref());
    }
    letter.extend(message);
    letter
}

/// The message of a letter that came from one address to another.
///
/// # Errors
/// Why it is not believed.
pub fn open<'l>(
    cluster: ClusterId,
    ring: &KeyRing,
    way: (IpAddr, IpAddr),
    letter: &'l [u8],
) -> Result<&'l [u8], Refusal> {
    let ([version, count], rest) = letter.split_first_chunk().ok_or(Refusal::Truncated)?;
    if *version != VERSION {
        return Err(Refusal::Version);
    }
    let count = usize::from(*count);
    if count == 0 || count > MOST_CODES {
        return Err(Refusal::Header);
    }
    let (of, rest) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
    if ClusterId(*of) != cluster {
        return Err(Refusal::ForeignCluster);
    }
    let (codes, message) = rest
        .split_at_checked(count * (4 + CODE))
        .ok_or(Refusal::Truncated)?;
    // The first of a known key decides: a letter costs one code, whoever wrote it.
    let known = codes.chunks_exact(4 + CODE).find_map(|code| {
        let (id, code) = code.split_first_chunk()?;
        Some((ring.find(KeyId(*id))?, code))
    });
    let (key, code) = known.ok_or(Refusal::UnknownKey)?;
    hmac::verify(key.hmac(), &covered(cluster, way, message), code)
        .map(|()| message)
        .map_err(|_| Refusal::WrongCode)
}

fn covered(cluster: ClusterId, (from, to): (IpAddr, IpAddr), message: &[u8]) -> Vec<u8> {
    let mut covered = Vec::with_capacity(WORD.len() + 2 * 16 + 8 + message.len());
    covered.extend(WORD);
    for address in [from, to] {
        covered.extend(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        });
    }
    covered.extend(cluster.0);
    covered.extend(message);
    covered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn ring(keys: &[u8]) -> KeyRing {
        let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
        KeyRing::new(keys.iter().map(<[u8; 32]>::as_slice)).unwrap()
    }

    fn here() -> ClusterId {
        ClusterId::of("here")
    }

    #[test]
    fn a_letter_is_read_by_whoever_has_one_of_its_keys() {
        let letter = seal(here(), &ring(&[2, 1]), (A, B), b"hello");
        for keys in [&[1][..], &[2], &[3, 2], &[1, 3]] {
            assert_eq!(
                open(here(), &ring(keys), (A, B), &letter),
                Ok(&b"hello"[..])
            );
        }
        assert_eq!(
            open(here(), &ring(&[3]), (A, B), &letter),
            Err(Refusal::UnknownKey)
        );
    }

    #[test]
    fn a_letter_to_somebody_else_or_from_elsewhere_is_not_believed() {
        let letter = seal(here(), &ring(&[1]), (A, B), b"hello");
        for way in [(A, A), (B, A), (B, B)] {
            assert_eq!(
                open(here(), &ring(&[1]), way, &letter),
                Err(Refusal::WrongCode)
            );
        }
        assert_eq!(
            open(ClusterId::of("there"), &ring(&[1]), (A, B), &letter),
            Err(Refusal::ForeignCluster)
        );
    }

    proptest! {
        #[test]
        fn a_letter_changed_anywhere_is_not_believed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut letter = seal(here(), &ring(&[1]), (A, B), b"a message");
            let at = at.index(letter.len());
            letter[at] ^= 1 << bit;
            prop_assert!(open(here(), &ring(&[1]), (A, B), &letter).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(here(), &ring(&[1]), (A, B), &bytes).is_err());
        }
    }
}
