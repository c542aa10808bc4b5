//! A Lease as a record: who holds it, and what it says when it is taken, renewed or emptied. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;

/// Who holds the Lease; `None` for one that is free.
#[must_use]
pub fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

/// How long it may go unrenewed, as its holder says.
#[must_use]
pub fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// How often it has had another holder.
#[must_use]
pub fn transitions(lease: &Lease) -> Option<i32> {
    lease.spec.as_ref()?.lease_transitions
}

/// The Lease with `identity` as its holder: taken, or renewed when it was its already.
///
/// It keeps the metadata of `before`, with the resource version that was read, so that the API
/// server refuses it if anybody wrote in between. The times in it are for people: nothing decides by
/// them.
#[must_use]
pub fn held(
    before: Option<Lease>,
    name: &str,
    identity: &str,
    duration: Duration,
    now: Timestamp,
) -> Lease {
    let before = before.unwrap_or_default();
    let continues = holder(&before) == Some(identity);
    let spec = before.spec.unwrap_or_default();
    let now = MicroTime(now);
    let acquired = if continues { spec.acquire_time } else { None };
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..before.metadata
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!continues))),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease without a holder, everything else as it was read.
#[must_use]
pub fn emptied(mut lease: Lease) -> Lease {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().unwrap()
    }

    #[test]
    fn who_renews_keeps_the_time_of_taking_and_who_takes_counts_as_a_change() {
        let taken = held(None, "l", "one", DURATION, at(1));
        let renewed = held(Some(taken.clone()), "l", "one", DURATION, at(2));
        assert_eq!(spec(&renewed).acquire_time, spec(&taken).acquire_time);
        assert_eq!(spec(&renewed).lease_transitions, Some(1));
        let other = held(Some(renewed), "l", "two", DURATION, at(3));
        assert_eq!(spec(&other).acquire_time, Some(MicroTime(at(3))));
        assert_eq!(spec(&other).lease_transitions, Some(2));
    }

    #[test]
    fn an_emptied_lease_is_free_and_keeps_everything_else() {
        let mut taken = held(None, "l", "one", DURATION, at(1));
        taken.metadata.resource_version = Some("7".to_owned());
        let empty = emptied(taken.clone());
        assert_eq!(holder(&empty), None);
        assert_eq!(empty.metadata, taken.metadata);
        assert_eq!(spec(&empty).renew_time, spec(&taken).renew_time);
    }

    #[test]
    fn an_empty_name_is_no_holder() {
        let nobody = held(None, "l", "", DURATION, at(1));
        assert_eq!(holder(&nobody), None);
    }

    proptest! {
        #[test]
        fn whoever_writes_holds_it_and_the_version_read_stays(
            writers in proptest::collection::vec("[a-c]", 1..12),
            version in "[0-9]{1,9}",
        ) {
            let mut lease = Lease::default();
            lease.metadata.resource_version = Some(version.clone());
            let mut changes = 0;
            let mut last = None;
            for (second, writer) in writers.iter().enumerate() {
                lease = held(Some(lease), "l", writer, DURATION, at(i64::try_from(second).unwrap()));
                changes += i32::from(last != Some(writer));
                last = Some(writer);
                prop_assert_eq!(holder(&lease), Some(writer.as_str()));
                prop_assert_eq!(lease.metadata.resource_version.as_ref(), Some(&version));
                prop_assert_eq!(spec(&lease).lease_transitions, Some(changes));
            }
        }
    }
}
