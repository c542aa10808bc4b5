//! All that a received frame goes through before it is believed.

use std::time::Duration;

use super::budget::Budget;
use super::keys::KeyRing;
use super::replay::Replay;
use super::{ClusterId, Envelope, Frame, Refusal};
use crate::Mac;
use crate::link::IfIndex;

/// What a node needs to believe its peers.
#[derive(Debug)]
pub struct Listener {
    cluster: ClusterId,
    keys: KeyRing,
    replay: Replay,
    budget: Budget,
}

impl Listener {
    /// One that believes holders of these keys.
    #[must_use]
    pub fn new(cluster: ClusterId, keys: KeyRing) -> Self {
        Self {
            cluster,
            keys,
            replay: Replay::default(),
            budget: Budget::default(),
        }
    }

    /// The keys it accepts.
    #[must_use]
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Accepts these keys from now on, and no others.
    pub fn set_keys(&mut self, keys: KeyRing) {
        self.keys = keys;
    }

    /// Forgets what was heard on segments that are no more.
    pub fn retain(&mut self, is_left: impl Fn(IfIndex) -> bool) {
        self.replay.retain(is_left);
    }

    /// Takes a frame that came to the interface `segment`, whose address is `me`, at this time since boot.
    ///
    /// # Errors
    /// Why it is not believed. For those that [show life](Refusal::shows_life), [`source`] says whose.
    pub fn hear<'a>(
        &mut self,
        segment: IfIndex,
        me: Mac,
        bytes: &'a [u8],
        now: Duration,
    ) -> Result<Frame<'a>, Refusal> {
        let envelope = Envelope::open(bytes, me, self.cluster)?;
        // Without a key there is nothing to pay for.
        self.keys.find(envelope.key()).ok_or(Refusal::UnknownKey)?;
        if !self.budget.admits(envelope.source, now) {
            return Err(Refusal::Flood);
        }
        let authentic = envelope.authenticate(&self.keys)?;
        if !self
            .replay
            .rises(segment, authentic.session(), authentic.counter())
        {
            return Err(Refusal::Replayed);
        }
        self.budget.welcome(envelope.source);
        authentic.frame()
    }
}

/// Where a frame came from, as it says.
#[must_use]
pub fn source(frame: &[u8]) -> Option<Mac> {
    frame.get(6..12)?.try_into().ok().map(Mac)
}
