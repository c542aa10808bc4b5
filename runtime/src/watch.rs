//! A watch as news about one kind of object.
//!
//! ```text
//! Init ─ InitApply* ─ InitDone ─ (Apply | Delete)* ─ Init …      the client's events
//!         Seen*       Listed      (Seen  | Gone)*                 what follows from them
//! ```
//!
//! A watch that begins anew lists everything: what was known and is not in the list is gone. That is
//! said in one place, here; nothing else has to know in which state a watch is.

use std::collections::BTreeSet;

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event};

/// What a watch says.
#[derive(Debug)]
pub enum News<T, K> {
    /// The object is there, as it is now.
    Seen(T),
    /// The object is gone.
    Gone(K),
    /// A list is complete. These are all there are: what else was known is gone.
    Listed(BTreeSet<K>),
    /// The watch broke off, and is taken up again by itself; until then nothing is told.
    Broken(watcher::Error),
}

/// The events of one watch, and whether its list is complete. Pure.
#[derive(Debug)]
pub struct Listing<K> {
    keys: BTreeSet<K>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        let keys = BTreeSet::new();
        Self { keys }
    }
}

impl<K: Ord> Listing<K> {
    /// What follows from an event. `key` tells one object from another; one without a key is passed
    /// on when it is seen, and is never said to be gone.
    pub fn take<T>(
        &mut self,
        event: Event<T>,
        key: impl FnOnce(&T) -> Option<K>,
    ) -> Option<News<T, K>> {
        match event {
            Event::Init => {
                self.keys.clear();
                None
            }
            Event::InitApply(object) => {
                self.keys.extend(key(&object));
                Some(News::Seen(object))
            }
            Event::InitDone => Some(News::Listed(std::mem::take(&mut self.keys))),
            Event::Apply(object) => Some(News::Seen(object)),
            Event::Delete(object) => key(&object).map(News::Gone),
        }
    }
}

/// The news of a watch, which brings its own back-off. Ends when the watch does.
pub fn follow<T, K: Ord>(
    events: impl Stream<Item = Result<Event<T>, watcher::Error>>,
    key: impl Fn(&T) -> Option<K>,
) -> impl Stream<Item = News<T, K>> {
    let mut listing = Listing::default();
    events.filter_map(move |event| {
        std::future::ready(match event {
            Ok(event) => listing.take(event, &key),
            Err(error) => Some(News::Broken(error)),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// Takes news in as any follower does.
    fn learn(known: &mut BTreeMap<u8, u32>, news: News<(u8, u32), u8>) {
        match news {
            News::Seen((key, value)) => {
                known.insert(key, value);
            }
            News::Gone(key) => {
                known.remove(&key);
            }
            News::Listed(keys) => known.retain(|key, _| keys.contains(key)),
            News::Broken(_) => {}
        }
    }

    #[tokio::test]
    async fn what_is_missing_from_a_new_list_is_gone() {
        let events = [
            Event::Init,
            Event::InitApply((1, 10)),
            Event::InitApply((2, 20)),
            Event::InitDone,
            Event::Apply((3, 30)),
            Event::Delete((1, 10)),
            // The watch has lost its place: 3 went meanwhile, 4 came.
            Event::Init,
            Event::InitApply((2, 21)),
            Event::InitApply((4, 40)),
            Event::InitDone,
        ];
        let events = futures::stream::iter(events.into_iter().map(Ok));
        let mut known = BTreeMap::new();
        let mut news = std::pin::pin!(follow(events, |(key, _)| Some(*key)));
        while let Some(news) = news.next().await {
            learn(&mut known, news);
        }
        assert_eq!(known, BTreeMap::from([(2, 21), (4, 40)]));
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_says_nothing_of_what_it_did_not_reach() {
        let events = [
            Ok(Event::Init),
            Ok(Event::InitApply((1, 10))),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply((2, 20))),
            Ok(Event::InitDone),
        ];
        let news = follow(futures::stream::iter(events), |(key, _)| Some(*key));
        let news: Vec<News<(u8, u32), u8>> = news.collect().await;
        assert!(matches!(news[1], News::Broken(_)), "{news:?}");
        assert!(
            matches!(&news[3], News::Listed(keys) if *keys == BTreeSet::from([2])),
            "{news:?}"
        );
    }

    proptest! {
        /// Whatever happened before, after a list the follower knows exactly what it said.
        #[test]
        fn after_a_list_exactly_what_it_said_is_known(
            before in proptest::collection::vec((any::<bool>(), 0_u8..8, any::<u32>()), 0..20),
            listed in proptest::collection::btree_map(0_u8..8, any::<u32>(), 0..8),
        ) {
            let mut listing = Listing::default();
            let mut known = BTreeMap::new();
            let changes = before.into_iter().map(|(there, key, value)| {
                if there { Event::Apply((key, value)) } else { Event::Delete((key, value)) }
            });
            let list = listed.iter().map(|(key, value)| Event::InitApply((*key, *value)));
            let events = changes.chain([Event::Init]).chain(list).chain([Event::InitDone]);
            for event in events {
                if let Some(news) = listing.take(event, |(key, _)| Some(*key)) {
                    learn(&mut known, news);
                }
            }
            prop_assert_eq!(known, listed);
        }
    }
}
