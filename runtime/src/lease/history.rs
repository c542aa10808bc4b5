//! Whether the API server's history goes on, or has gone back: as it does when its database is
//! restored from an older copy under it. Watches then wait for versions of a future that is gone.

use landfall_crds::Version;

/// The newest version that was seen of one object that nobody deletes while it is looked at, such as
/// one's own Lease: whoever sees an older one has seen a future that will not come.
#[derive(Clone, Debug, Default)]
pub struct History {
    newest: Option<Version>,
}

impl History {
    /// Takes in a version that a consistent read or an answer to a write has; says whether it is
    /// older than one seen before.
    pub fn goes_back(&mut self, version: &str) -> bool {
        let version = Version::new(version);
        let newest = self.newest.as_ref();
        if newest.is_some_and(|newest| version.is_older_than(newest)) {
            return true;
        }
        self.newest = Some(version);
        false
    }

    /// Forgets the future: what is read from now on is all there is.
    pub fn begin_anew(&mut self) {
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_below_one_seen_before_is_a_history_that_went_back() {
        let mut history = History::default();
        assert!(!history.goes_back("98"));
        assert!(!history.goes_back("98"), "nothing was written in between");
        assert!(!history.goes_back("101"));
        assert!(history.goes_back("99"));
        assert!(history.goes_back("100"), "until it is begun anew");
        history.begin_anew();
        assert!(!history.goes_back("100"));
        assert!(history.goes_back("99"));
    }
}
