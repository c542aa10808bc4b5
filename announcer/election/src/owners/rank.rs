//! The order in which candidates are asked.
//!
//! Every node computes the same order from the same records, so that usually one alone tries to claim; where views differ
//! for a moment the compare-and-swap decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::names::NodeName;
use crate::order::{address_key, cap, score};

/// A node that may own an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeName,
    /// Preference: only when no heavier candidate lives is a lighter one asked.
    pub weight: i64,
    /// Nothing new is to come to it: it comes last, and keeps what it has.
    pub cordoned: bool,
    /// It has an endpoint that is ready, or needs none; if not, one that terminates and still serves.
    pub ready: bool,
    /// Its sessions were ended for silence again and again of late: it comes after all that stayed, and keeps what it has.
    pub unsteady: bool,
    /// How many of the address's interfaces it has with carrier.
    pub reach: u16,
}

impl Candidate {
    /// One with nothing to be said for or against it.
    pub const fn plain(node: NodeName) -> Self {
        Self {
            node,
            weight: 0,
            cordoned: false,
            ready: true,
            unsteady: false,
            reach: 1,
        }
    }
}

/// Addresses by node.
pub type Load = BTreeMap<NodeName, usize>;

/// The candidates of `address`, the best first.
///
/// A node already holding more than 1.25 times its share of what the candidates of the same weight hold (consistent
/// hashing with bounded loads) comes after the ones that do not.
pub fn rank<'a>(address: IpAddr, candidates: &[&'a Candidate], load: &Load) -> Vec<&'a NodeName> {
    let of = |node: &NodeName| load.get(node).copied().unwrap_or(0);
    let mut tiers: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
    for candidate in candidates {
        let tier = tiers.entry(candidate.weight).or_default();
        tier.0 += 1;
        tier.1 += of(&candidate.node);
    }
    let key = address_key(address);
    let mut keyed: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let (nodes, total) = tiers.get(&candidate.weight).copied().unwrap_or((1, 0));
            let full = of(&candidate.node) >= cap(total, nodes);
            let merits = (
                candidate.cordoned,
                !candidate.ready,
                candidate.unsteady,
                Reverse(candidate.weight),
                Reverse(candidate.reach),
            );
            (
                merits,
                full,
                Reverse(score(&key, candidate.node.as_str())),
                &candidate.node,
            )
        })
        .collect();
    keyed.sort();
    keyed.into_iter().map(|(_, _, _, node)| node).collect()
}
