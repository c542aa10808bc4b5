//! Foreign hosts at our addresses: seen by a probe before a first claim, or while an address is owned.

use std::net::IpAddr;
use std::time::Duration;

use super::{Brain, ProbeNews};
use crate::election::owners::Event;
use crate::election::{Now, Probed};
use crate::report::Conflict;

/// A conflict on an owned address is over when nothing was seen of it for this long.
const CONFLICT_MEMORY: Duration = Duration::from_secs(60);

impl Brain {
    pub(super) fn probed(&mut self, address: IpAddr, news: ProbeNews, now: Now) {
        let outcome = match news {
            ProbeNews::Clear => {
                self.conflicts.remove(&address);
                Probed::Clear
            }
            ProbeNews::Taken(conflict) if self.is_overruled(address, &conflict) => {
                tracing::warn!(%address, mac = %conflict.mac, "a foreign host answers for an address, and is overruled");
                self.conflicts.remove(&address);
                Probed::Clear
            }
            ProbeNews::Taken(conflict) => {
                self.conflicts_seen += 1;
                self.conflict(address, conflict, now);
                Probed::Taken
            }
            ProbeNews::Unable => Probed::Unable,
        };
        self.report_due = true;
        self.owners.observe(Event::Probed(address, outcome), now);
    }

    fn is_overruled(&self, address: IpAddr, conflict: &Conflict) -> bool {
        let lbip = self.world.lbips.get(&address);
        lbip.is_some_and(|lbip| lbip.overruled.contains(&conflict.mac))
    }

    pub(super) fn conflict(&mut self, address: IpAddr, conflict: Conflict, now: Now) {
        self.report_due = true;
        let known = self.conflicts.insert(address, (conflict.clone(), now));
        if known.is_none_or(|(known, _)| known != conflict) {
            let Conflict { mac, interface, .. } = &conflict;
            let note = format!("a foreign host ({mac}, seen on {interface}) uses {address}");
            self.notify(address, true, "AddressConflict", note);
        }
    }

    pub(super) fn forget_conflicts(&mut self, now: Now) {
        let before = self.conflicts.len();
        let world = &self.world;
        self.conflicts.retain(|address, (conflict, seen)| {
            let Some(lbip) = world.lbips.get(address) else {
                return false;
            };
            let owned = lbip.status.owner.is_some();
            owned != conflict.at_probe && (conflict.at_probe || now < *seen + CONFLICT_MEMORY)
        });
        self.report_due |= before != self.conflicts.len();
    }
}
