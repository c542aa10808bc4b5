//! Who watches whom where everybody cannot watch everybody: two salted rings of all members, of each the node before
//! and the node behind. The relation is mutual, every node has four partners, and neighbours in a rack are no
//! neighbours in a ring.

use std::collections::BTreeSet;

use crate::names::NodeName;
use crate::order::score;

const SALTS: [&[u8]; 2] = [b"watch ring 1", b"watch ring 2"];

/// The partners of `me` among `members`.
pub(crate) fn partners<'a>(
    me: &NodeName,
    members: impl Iterator<Item = &'a NodeName> + Clone,
) -> BTreeSet<NodeName> {
    let mut found = BTreeSet::new();
    for salt in SALTS {
        let place = |node: &NodeName| score(salt, node.as_str());
        let mine = (place(me), me);
        let (mut first, mut last, mut before, mut behind) = (None, None, None, None);
        for node in members.clone().filter(|node| *node != me) {
            let at = (place(node), node);
            first = Some(first.map_or(at, |known: (u64, &NodeName)| known.min(at)));
            last = Some(last.map_or(at, |known: (u64, &NodeName)| known.max(at)));
            if at < mine {
                before = Some(before.map_or(at, |known: (u64, &NodeName)| known.max(at)));
            } else {
                behind = Some(behind.map_or(at, |known: (u64, &NodeName)| known.min(at)));
            }
        }
        found.extend(before.or(last).map(|(_, node)| node.clone()));
        found.extend(behind.or(first).map(|(_, node)| node.clone()));
    }
    found
}
