//! Chance: what keeps many from coming back together, and ids that nobody used before.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// A number in 0..1, another one at every call.
#[must_use]
pub fn spread() -> f64 {
    fastrand::f64()
}

/// `base`, longer or shorter by up to `share` of it.
///
/// ```
/// # use std::time::Duration;
/// let pause = landfall_runtime::random::around(Duration::from_secs(10), 0.2);
/// assert!((8.0..=12.0).contains(&pause.as_secs_f64()));
/// ```
#[must_use]
pub fn around(base: Duration, share: f64) -> Duration {
    let share = share.clamp(0.0, 1.0);
    base.mul_f64(1.0 + share * (2.0 * spread() - 1.0))
}

/// `base`, shorter by up to `share` of it: for what must not come late.
#[must_use]
pub fn before(base: Duration, share: f64) -> Duration {
    base.mul_f64(1.0 - share.clamp(0.0, 1.0) * spread())
}

/// An id that no other process has, nor this one at another call. It is seeded by the kernel's
/// randomness, which [`spread`] is not; it is no secret.
#[must_use]
pub fn id() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BASE: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_are_spread_over_their_share_and_no_further() {
        let around: Vec<_> = (0..1000).map(|_| around(BASE, 0.2).as_secs_f64()).collect();
        assert!(around.iter().all(|pause| (8.0..=12.0).contains(pause)));
        assert!(
            around.iter().any(|pause| *pause < 9.0) && around.iter().any(|pause| *pause > 11.0)
        );
        let before: Vec<_> = (0..1000).map(|_| before(BASE, 0.1)).collect();
        assert!(
            before
                .iter()
                .all(|pause| *pause <= BASE && *pause >= BASE.mul_f64(0.9))
        );
    }

    #[test]
    fn no_id_comes_twice() {
        let ids: BTreeSet<u64> = (0..1000).map(|_| id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
