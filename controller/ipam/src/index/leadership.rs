//! Taking over and standing down: what an index does when it begins to lead, and when it ends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Index;
use crate::address::{Family, Point};
use crate::book::record::diff;
use crate::plan::{adoption, plan};
use crate::service::Service;
use crate::{HolderKey, QueueKey};

impl Index {
    /// Takes in every address a status names and no record has: before anything is allocated.
    /// An external address that is ours to give is in use already, too. Returns how many.
    ///
    /// From here on this index leads; it begins from the records, not from what it wanted once.
    pub fn adopt(&mut self) -> usize {
        self.stand_down();
        self.leads = true;
        let mut queue: Vec<QueueKey> = self
            .world
            .services
            .values()
            .map(|service| service.queue_key())
            .collect();
        queue.sort();
        let mut adopted = 0;
        for queued in &queue {
            let wanted = |service: &&Arc<Service>| service.wanted && !service.status.is_empty();
            let Some(service) = self.world.services.get(&queued.key).filter(wanted).cloned() else {
                continue;
            };
            let held: BTreeSet<Family> = self
                .world
                .book
                .held_by(&queued.key)
                .map(|at| Family::of(at.address()))
                .collect();
            let new = service
                .status
                .iter()
                .filter(|address| !held.contains(&Family::of(**address)));
            for address in new {
                if let Some(take) = adoption(&self.world, &service, *address) {
                    self.take(&service, &take);
                    adopted += 1;
                }
            }
        }
        for queued in &queue {
            adopted += self.adopt_claims(&queued.key);
        }
        adopted
    }

    fn adopt_claims(&mut self, key: &HolderKey) -> usize {
        let Some(service) = self.world.services.get(key) else {
            return 0;
        };
        let claims: Vec<IpAddr> = self.world.claims(service).collect();
        if claims.is_empty() {
            return 0;
        }
        let service = service.clone();
        let mut plan = plan(&self.world, &service, &self.world.held(&service.key));
        // Nothing else is given before everything in use is taken in.
        plan.take.retain(|take| claims.contains(&take.address));
        for take in &plan.take {
            self.take(&service, take);
        }
        plan.take.len()
    }

    /// Forgets what was wanted and not written: somebody else decides now.
    pub fn stand_down(&mut self) {
        self.leads = false;
        let open: Vec<Point> = self
            .world
            .book
            .entries()
            .filter(|(at, entry)| diff(*at, entry).is_some())
            .map(|(at, _)| at)
            .collect();
        for at in open {
            self.change(at, |entry| {
                entry.want = entry.stored.as_ref().map(|stored| stored.spec.clone());
            });
        }
        self.dirty.extend(
            self.world
                .services
                .values()
                .map(|service| service.queue_key()),
        );
    }
}
