//! Taking over and standing down: what an index does when it begins to lead, and when it ends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Family, Point};
use super::index::Index;
use super::record::diff;
use super::service::Service;
use super::{ServiceKey, Turn};

impl Index {
    /// Takes in every address a status names and no record has: before anything is allocated.
    /// An external address that is ours to give is in use already, too. Returns how many.
    ///
    /// From here on this index leads; it begins from the records, not from what it wanted once.
    pub fn adopt(&mut self) -> usize {
        self.stand_down();
        self.leads = true;
        let mut turns: Vec<Turn> = self
            .world
            .services
            .values()
            .map(|service| service.turn())
            .collect();
        turns.sort();
        let mut adopted = 0;
        for turn in &turns {
            let wanted = |service: &&Arc<Service>| service.wanted && !service.status.is_empty();
            let Some(service) = self.world.services.get(&turn.key).filter(wanted).cloned() else {
                continue;
            };
            let held: BTreeSet<Family> = self
                .world
                .book
                .held_by(&turn.key)
                .map(|at| Family::of(at.address()))
                .collect();
            let new = service
                .status
                .iter()
                .filter(|address| !held.contains(&Family::of(**address)));
            for address in new {
                if let Some(take) = self.world.adoption(&service, *address) {
                    self.take(&service, &take);
                    adopted += 1;
                }
            }
        }
        for turn in &turns {
            adopted += self.adopt_claims(&turn.key);
        }
        adopted
    }

    fn adopt_claims(&mut self, key: &ServiceKey) -> usize {
        let Some(service) = self.world.services.get(key) else {
            return 0;
        };
        let claims: Vec<IpAddr> = self.world.claims(service).collect();
        if claims.is_empty() {
            return 0;
        }
        let service = service.clone();
        let mut plan = self.world.plan(&service);
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
        self.dirty
            .extend(self.world.services.values().map(|service| service.turn()));
    }
}
