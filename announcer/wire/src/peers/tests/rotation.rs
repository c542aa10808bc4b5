//! Keys: what is refused as one, and their rotation.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::{key, ring, secret};

#[test]
fn unfit_keys_are_refused_in_words_that_help() {
    let refused = |secrets: &[Vec<u8>]| {
        KeyRing::new(secrets.iter().map(Vec::as_slice))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(&[]), "no key; add one of 32 random bytes");
    assert!(refused(&[vec![1; 31]]).starts_with("a key of 31 bytes"));
    assert!(refused(&[vec![1; 65]]).starts_with("a key of 65 bytes"));
    assert!(refused(&[secret(1), secret(1)]).contains("is there twice"));
    assert!(refused(&[1, 2, 3, 4, 5].map(secret)).starts_with("more than 4 keys"));
    let id = key(0).id();
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "1234567", "123456789", "+1234567", "wwwwwwww"] {
        assert!(text.parse::<KeyId>().is_err(), "{text}");
    }
}

#[test]
fn the_newest_key_that_all_accept_is_signed_with_or_the_one_most_accept() {
    let ring = ring(&[3, 2, 1]);
    let ids = |numbers: &[u8]| -> Vec<KeyId> { numbers.iter().map(|n| key(*n).id()).collect() };
    for (peers, expected) in [
        (vec![], 3),
        (vec![ids(&[3, 2, 1]), ids(&[3, 2])], 3),
        (vec![ids(&[3, 2, 1]), ids(&[2, 1])], 2),
        (vec![ids(&[3, 2]), ids(&[1]), ids(&[3])], 3),
        (vec![ids(&[9]), ids(&[1])], 1),
    ] {
        let signing = ring.signing(peers.iter().map(Vec::as_slice));
        assert_eq!(signing.id(), key(expected).id(), "{peers:?}");
    }
}

const NODES: usize = 4;

/// What a node accepts, and what it knows of what others accept.
#[derive(Clone)]
struct Node {
    ring: KeyRing,
    known: Vec<Vec<KeyId>>,
}

impl Node {
    fn signing(&self, me: usize) -> &Key {
        let others = self.known.iter().enumerate();
        self.ring.signing(
            others
                .filter(|(node, _)| *node != me)
                .map(|(_, ids)| ids.as_slice()),
        )
    }
}

/// One thing that reaches one node.
#[derive(Clone, Copy, Debug)]
enum News {
    /// The Secret as it is by now.
    Secret(usize),
    /// What another node accepts by now.
    Published(usize, usize),
}

fn news() -> impl Strategy<Value = News> {
    prop_oneof![
        (0..NODES).prop_map(News::Secret),
        (0..NODES, 0..NODES).prop_map(|(to, of)| News::Published(to, of)),
    ]
}

/// Rotates from the key 1 to the key 2 while news arrive in this order, and afterwards all that is missing. Returns how
/// many times a frame would have been refused for its key, and whether all sign with the new key in the end.
fn rotate(order: &[News], removes_when_told: bool) -> (usize, bool) {
    let (old, new) = (key(1).id(), key(2).id());
    let before = Node {
        ring: ring(&[1]),
        known: vec![vec![old]; NODES],
    };
    let mut nodes = vec![before; NODES];
    let mut secret = ring(&[2, 1]);
    let mut refused = 0;
    let rest = (0..2 * NODES)
        .flat_map(|round| (0..NODES).map(move |node| (round, node)))
        .flat_map(|(_, node)| {
            std::iter::once(News::Secret(node))
                .chain((0..NODES).map(move |of| News::Published(node, of)))
        });
    for news in order.iter().copied().chain(rest) {
        match news {
            News::Secret(node) => nodes[node].ring = secret.clone(),
            News::Published(to, of) => nodes[to].known[of] = nodes[of].ring.accepted().collect(),
        }
        let all_sign =
            |nodes: &[Node]| (0..NODES).all(|node| nodes[node].signing(node).id() == new);
        if all_sign(&nodes) || !removes_when_told {
            secret = ring(&[2]);
        }
        for (me, node) in nodes.iter().enumerate() {
            let id = node.signing(me).id();
            refused += nodes
                .iter()
                .filter(|other| other.ring.find(id).is_none())
                .count();
        }
    }
    let done = nodes
        .iter()
        .enumerate()
        .all(|(me, node)| node.signing(me).id() == new && node.ring.accepted().eq([new]));
    (refused, done)
}

proptest! {
    #[test]
    fn a_rotation_by_the_rule_has_no_gap_and_ends(order in vec(news(), 0..200)) {
        prop_assert_eq!(rotate(&order, true), (0, true));
    }
}

#[test]
fn an_old_key_removed_before_all_sign_with_the_new_one_leaves_a_gap() {
    let (refused, done) = rotate(&[News::Secret(0)], false);
    assert!(refused > 0 && done);
}
