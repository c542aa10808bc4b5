//! What the order of candidates and of watchers is made of: rendezvous scores, and the bound of a load.

use std::net::IpAddr;
use std::time::Duration;

/// The most one of `nodes` may hold when they hold `total` and one more is to be placed:
/// ⌈1.25 · (total + 1) / nodes⌉.
pub(crate) const fn cap(total: usize, nodes: usize) -> usize {
    (5 * (total + 1)).div_ceil(4 * nodes)
}

pub(crate) fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// So much of `most` as falls to a node: what keeps nodes from doing the same thing all at once.
pub(crate) fn spread(what: &[u8], node: &str, most: Duration) -> Duration {
    let part = u32::try_from(score(what, node) % 1_000).unwrap_or_default();
    most * part / 1_000
}

/// Rendezvous score: FNV-1a over both names, finished so that every input bit moves every output
/// bit. Part of the agreement between nodes: changing it moves addresses during an upgrade.
pub(crate) fn score(key: &[u8], node: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.iter().chain(&[0xff]).chain(node.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
