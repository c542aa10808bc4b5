//! What the tasks share: the cache behind its lock, and the bells that ring when it changes.
//!
//! Invariant: the lock is held for one synchronous look or change, never across an await.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::cache::Cache;

#[derive(Debug, Default)]
pub struct State {
    cache: Mutex<Cache>,
    /// Rings when there is something to look at.
    pub services_changed: Notify,
    /// Rings when a pool's status may be stale.
    pub pools_changed: Notify,
    /// Rings when something of the Gateway API is to be decided or written.
    pub gateways_changed: Notify,
    /// Rings when the status of a class or a route is to be written.
    pub gateway_statuses_changed: Notify,
    /// Rings when there is an object that cannot be decoded.
    pub undecodable_seen: Notify,
}

impl State {
    /// The cache, locked.
    pub fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock()
    }

    /// Changes the cache and rings.
    pub fn change<T>(&self, change: impl FnOnce(&mut Cache) -> T) -> T {
        let (result, news, gateways) = {
            let mut cache = self.cache.lock();
            let result = change(&mut cache);
            (
                result,
                cache.undecodable.news(),
                cache.gateway_api.has_news(),
            )
        };
        if gateways {
            self.gateways_changed.notify_one();
        }
        if news {
            self.undecodable_seen.notify_one();
        }
        self.services_changed.notify_one();
        self.pools_changed.notify_one();
        result
    }
}
