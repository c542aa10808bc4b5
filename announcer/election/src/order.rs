//! The order in which candidates are asked: weight, then rendezvous hash with bounded load.
//!
//! Every node computes the same order from the same records, so that usually one node alone tries
//! to claim; where views differ for a moment the compare-and-swap decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::names::NodeName;

/// A node that may own an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeName,
    /// Preference: only when no heavier candidate lives is a lighter one asked.
    pub weight: i64,
}

/// The candidates of `address`, the best first.
///
/// A node already holding more than 1.25 times its share of what the candidates of the same weight
/// hold (consistent hashing with bounded loads) comes after the ones that do not.
pub fn order<'a>(
    address: IpAddr,
    candidates: &[&'a Candidate],
    load: &BTreeMap<NodeName, usize>,
) -> Vec<&'a NodeName> {
    let mut tiers: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    for candidate in candidates {
        let tier = tiers.entry(candidate.weight).or_default();
        tier.0 += 1;
        tier.1 += load_of(load, &candidate.node);
    }
    let mut keyed: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let (nodes, total) = tiers.get(&candidate.weight).copied().unwrap_or((1, 0));
            let full = load_of(load, &candidate.node) >= cap(total, nodes);
            let score = score(&address_key(address), candidate.node.as_str());
            (
                Reverse(candidate.weight),
                full,
                Reverse(score),
                &candidate.node,
            )
        })
        .collect();
    keyed.sort();
    keyed.into_iter().map(|(_, _, _, node)| node).collect()
}

/// The most one of `nodes` may hold when they hold `total` and one more is to be placed:
/// ⌈1.25 · (total + 1) / nodes⌉.
pub(crate) const fn cap(total: usize, nodes: usize) -> usize {
    (5 * (total + 1)).div_ceil(4 * nodes)
}

fn load_of(load: &BTreeMap<NodeName, usize>, node: &NodeName) -> usize {
    load.get(node).copied().unwrap_or(0)
}

pub(crate) fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
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
