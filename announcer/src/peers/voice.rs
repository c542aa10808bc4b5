//! What a node needs to speak and to listen, once there are keys: the wire's speaker and listener, and the choice of the
//! key to sign with.

use landfall_wire::peers::{ClusterId, Key, KeyId, KeyRing, Listener, Speaker};

#[derive(Debug)]
pub(super) struct Voice {
    pub(super) speaker: Speaker,
    pub(super) listener: Listener,
    key: Key,
}

impl Voice {
    pub(super) fn new(cluster: ClusterId, keys: KeyRing, others: &[Vec<KeyId>]) -> Self {
        Self {
            speaker: Speaker::new(cluster),
            key: signing(&keys, others),
            listener: Listener::new(cluster, keys),
        }
    }

    pub(super) fn set_keys(&mut self, keys: KeyRing, others: &[Vec<KeyId>]) {
        self.key = signing(&keys, others);
        self.listener.set_keys(keys);
    }

    /// The others believe these keys now.
    pub(super) fn choose(&mut self, others: &[Vec<KeyId>]) {
        self.key = signing(self.listener.keys(), others);
    }

    /// The speaker, and the key it is to sign with.
    pub(super) fn speak(&mut self) -> (&mut Speaker, &Key) {
        (&mut self.speaker, &self.key)
    }
}

fn signing(keys: &KeyRing, others: &[Vec<KeyId>]) -> Key {
    keys.signing(others.iter().map(Vec::as_slice)).clone()
}
