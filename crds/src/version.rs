//! Which of two states of an object is the newer one.
//!
//! A write is answered and a watch is told of it on two ways, and either may come first. So whatever
//! is kept of an object is replaced only by what is not older: one rule, [`supersedes`], and a map
//! that keeps to it, [`Known`].

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::fmt;

use serde::Serialize;

/// A `resourceVersion`: the token of every compare-and-swap.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// Wraps the text that the API server gave.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self(version.into())
    }

    /// The version as text, as it goes back to the API server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` was written before `other`. Versions that are not numbers cannot be compared;
    /// then the order of arrival decides, and this is false.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        compare(&self.0, &other.0) == Some(Ordering::Less)
    }
}

impl From<&str> for Version {
    fn from(version: &str) -> Self {
        Self::new(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The order of two versions, as Kubernetes defines it: decimal numbers of any length. `None` when
/// one of them is no number.
fn compare(one: &str, two: &str) -> Option<Ordering> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(one) || !digits(two) {
        return None;
    }
    let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
    Some(one.len().cmp(&two.len()).then_with(|| one.cmp(two)))
}

/// An object, or what is kept of one, that knows whose state it is and how old.
pub trait Stamped {
    /// The object's uid: one deleted and made again under its name is another. Constant for what is
    /// told apart by its name alone.
    fn uid(&self) -> &str;
    /// The object's `resourceVersion`.
    fn version(&self) -> &str;
}

/// Whether a watch that shows `new` replaces what is `known`: unless it is an older state of the
/// same object.
#[must_use]
pub fn supersedes(new: &impl Stamped, known: &impl Stamped) -> bool {
    new.uid() != known.uid() || compare(new.version(), known.version()) != Some(Ordering::Less)
}

/// What is known of the objects of one kind, by key.
///
/// The invariant: while an object is known, its state never goes back; and an answer to a write of
/// our own never brings back an object that the watch has seen go, nor one of its name that is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<K, T> {
    objects: BTreeMap<K, T>,
}

impl<K, T> Default for Known<K, T> {
    fn default() -> Self {
        let objects = BTreeMap::new();
        Self { objects }
    }
}

impl<K: Ord, T: Stamped> Known<K, T> {
    /// The watch shows an object. Says whether it was taken in.
    pub fn shown(&mut self, key: K, object: T) -> bool {
        match self.objects.entry(key) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(object);
                true
            }
            btree_map::Entry::Occupied(mut entry) => {
                let taken = supersedes(&object, entry.get());
                if taken {
                    entry.insert(object);
                }
                taken
            }
        }
    }

    /// The API server answers a write of our own. Says whether the answer was taken in: only while
    /// the very object is known, and not in a newer state.
    pub fn answered<Q>(&mut self, key: &Q, object: T) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self.objects.get_mut(key) {
            Some(known) if known.uid() == object.uid() && supersedes(&object, known) => {
                *known = object;
                true
            }
            _ => false,
        }
    }

    /// The watch says that an object is gone. Returns what was known of it.
    pub fn gone<Q>(&mut self, key: &Q) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.objects.remove(key)
    }

    /// What is known of one object.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&T>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.objects.get(key)
    }

    /// Whether the object is known.
    #[must_use]
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.objects.contains_key(key)
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, T> {
        self.objects.iter()
    }

    /// The keys, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, K, T> {
        self.objects.keys()
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl<'a, K, T> IntoIterator for &'a Known<K, T> {
    type Item = (&'a K, &'a T);
    type IntoIter = btree_map::Iter<'a, K, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.objects.iter()
    }
}

macro_rules! stamped {
    ($($kind:ty),*) => {$(
        impl Stamped for $kind {
            fn uid(&self) -> &str {
                self.metadata.uid.as_deref().unwrap_or_default()
            }

            fn version(&self) -> &str {
                self.metadata.resource_version.as_deref().unwrap_or_default()
            }
        }
    )*};
}

stamped!(
    crate::gateway_api::Gateway,
    crate::gateway_api::GatewayClass,
    crate::gateway_api::ListenerSet,
    crate::L2AnnouncementPolicy,
    crate::LoadBalancerIP,
    crate::LoadBalancerIPPool
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Object(&'static str, String);

    impl Stamped for Object {
        fn uid(&self) -> &str {
            self.0
        }

        fn version(&self) -> &str {
            &self.1
        }
    }

    fn object(uid: &'static str, version: impl ToString) -> Object {
        Object(uid, version.to_string())
    }

    #[test]
    fn versions_are_compared_as_numbers_of_any_length() {
        let older = |one: &str, two: &str| Version::new(one).is_older_than(&Version::new(two));
        assert!(older("9", "10"));
        assert!(!older("10", "9") && !older("10", "10"));
        let long = "9".repeat(60);
        assert!(older(&long, &format!("1{long}")));
        assert!(older("007", "8") && !older("8", "007"));
    }

    #[test]
    fn what_is_no_number_is_older_than_nothing() {
        for odd in ["", "+5", "-5", "5a", " 5", "ä"] {
            assert!(
                !Version::new(odd).is_older_than(&Version::new("9")),
                "{odd}"
            );
            assert!(
                !Version::new("1").is_older_than(&Version::new(odd)),
                "{odd}"
            );
        }
    }

    #[test]
    fn an_answer_never_replaces_what_the_watch_knows_better() {
        let mut known = Known::default();
        assert!(!known.answered("s", object("u", 9)), "it is gone by now");
        known.shown("s", object("u", 11));
        assert!(!known.answered("s", object("u", 9)));
        assert_eq!(known.get("s"), Some(&object("u", 11)));
        assert!(known.answered("s", object("u", 12)));
        assert!(!known.shown("s", object("u", 11)));
        assert_eq!(known.get("s"), Some(&object("u", 12)));
    }

    #[test]
    fn an_object_made_anew_replaces_the_old_one_and_no_answer_brings_that_back() {
        let mut known = Known::default();
        known.shown("s", object("u", 30));
        assert!(known.shown("s", object("v", 20)));
        assert!(!known.answered("s", object("u", 31)));
        assert_eq!(known.gone("s"), Some(object("v", 20)));
        assert!(!known.answered("s", object("v", 40)) && known.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Shown(u64),
        Answered(u64),
        Gone,
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_that_of_the_numbers(one: u128, two: u128) {
            let older = Version::new(one.to_string()).is_older_than(&Version::new(two.to_string()));
            prop_assert_eq!(older, one < two);
        }

        #[test]
        fn while_an_object_is_known_its_version_never_falls(
            happenings in proptest::collection::vec(
                prop_oneof![
                    (0_u64..50).prop_map(Happening::Shown),
                    (0_u64..50).prop_map(Happening::Answered),
                    Just(Happening::Gone),
                ],
                0..40,
            )
        ) {
            let mut known = Known::default();
            for happening in happenings {
                let before: Option<u64> = known.get("s").map(|o: &Object| o.1.parse().unwrap());
                match happening {
                    Happening::Shown(version) => { known.shown("s", object("u", version)); }
                    Happening::Answered(version) => { known.answered("s", object("u", version)); }
                    Happening::Gone => { known.gone("s"); continue; }
                }
                let after = known.get("s").map(|o| o.1.parse().unwrap());
                prop_assert!(after >= before);
            }
        }
    }
}
