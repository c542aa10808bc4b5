//! Writes that the API server did not take, for who watches over the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_runtime::class::Class;
use parking_lot::Mutex;

/// The kinds of object an announcer writes, its own session apart: whether that lasts has a metric of its own.
const WRITTEN: [&str; 6] = [
    "Event",
    "L2AnnouncementPolicy",
    "L2Node",
    "Lease",
    "LoadBalancerIP",
    "Service",
];

/// How many writes failed, by the kind of object. Shared between who writes and who is asked.
#[derive(Clone, Debug, Default)]
pub struct WriteFailures(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl WriteFailures {
    /// A write failed. That somebody else was quicker, or the object is gone, is how things go.
    pub fn count(&self, kind: &'static str, class: Class) {
        if !matches!(class, Class::Conflict | Class::NotFound) {
            *self.0.lock().entry(kind).or_default() += 1;
        }
    }

    /// Of every kind, those without failures too: who counts from nothing to one sees a step.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::from(WRITTEN.map(|kind| (kind, 0)));
        all.extend(self.0.lock().iter());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_somebody_was_quicker_at_or_whose_object_is_gone_did_not_fail() {
        let failures = WriteFailures::default();
        for class in [
            Class::NotFound,
            Class::Conflict,
            Class::Forbidden,
            Class::Refused,
            Class::Transient,
        ] {
            failures.count("Service", class);
        }
        let by_kind = failures.by_kind();
        assert_eq!(by_kind["Service"], 3);
        assert_eq!(by_kind["LoadBalancerIP"], 0);
        assert_eq!(by_kind.len(), WRITTEN.len());
    }
}
