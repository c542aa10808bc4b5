//! The permit: until when this node may answer and announce, in one word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;
use crate::election::Now;

/// Read for every frame that leaves on behalf of an owned address; written by whoever knows that this node's session is
/// alive. Clones share the word. Nothing is allowed before it was first extended.
#[derive(Clone, Debug, Default)]
pub struct Permit(Arc<AtomicU64>);

impl Permit {
    /// Allows until then, or less long than before. Whether it had run out and is in force again: what was announced
    /// before may have been forgotten since.
    pub fn set(&self, until: Now, now: Now) -> bool {
        let before = self.0.swap(clock::nanos(until), Ordering::AcqRel);
        before <= clock::nanos(now) && until > now
    }

    /// Whether this node may answer now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.allows_at(clock::now())
    }

    fn allows_at(&self, now: Now) -> bool {
        clock::nanos(now) < self.0.load(Ordering::Acquire)
    }

    /// Until when it may answer.
    #[must_use]
    pub fn until(&self) -> Now {
        Now::from_nanos(self.0.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secs;

    #[test]
    fn nothing_is_allowed_before_the_permit_is_first_set_nor_from_its_end_on() {
        let permit = Permit::default();
        assert!(!permit.allows_at(secs(0)) && !permit.allows_at(secs(100)));
        assert!(
            permit.set(secs(115), secs(100)),
            "the first one brings it to life"
        );
        assert!(permit.allows_at(secs(114)));
        assert!(!permit.set(secs(120), secs(105)), "a renewal does not");
        assert!(!permit.allows_at(secs(120)));
        assert!(permit.set(secs(140), secs(125)), "a return does");
        assert!(
            !permit.set(secs(100), secs(130)),
            "a permit in the past only ends"
        );
        assert!(!permit.allows_at(secs(130)));
    }

    #[test]
    fn a_permit_in_the_future_allows_now() {
        let permit = Permit::default();
        permit.set(clock::now() + secs(600), clock::now());
        assert!(permit.allows());
        permit.set(clock::now(), clock::now());
        assert!(!permit.allows());
    }
}
