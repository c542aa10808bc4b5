//! Deciding: for every address, what this node should do about it now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Election, Entry, Probe};
use crate::event::{Decision, Write};
use crate::names::{NodeName, SessionId, Version};
use crate::order::{order, score};
use crate::sessions::Standing;
use crate::{Candidate, ClaimReason, Now, Owner, Record};

struct Round {
    live: BTreeSet<NodeName>,
    load: BTreeMap<NodeName, usize>,
    silent: BTreeMap<NodeName, (Now, Version)>,
    unknown: BTreeMap<NodeName, SessionId>,
    now: Now,
}

impl Election {
    /// Says what to do now. Writes it returns count as under way from here on.
    pub fn decide(&mut self, now: Now) -> Decision {
        let mut decision = Decision {
            deadline: self.deadline(),
            ..Decision::default()
        };
        if !self.alive(now) {
            return decision;
        }
        decision.wake(self.deadline());
        let mut round = Round {
            live: self.live_nodes(now),
            load: self.load(now),
            silent: BTreeMap::new(),
            unknown: BTreeMap::new(),
            now,
        };
        let mut entries = std::mem::take(&mut self.entries);
        for (address, entry) in &mut entries {
            self.decide_one(*address, entry, &mut round, &mut decision);
            let quiet = entry.record.as_ref().map(|r| &r.version) == entry.offered.as_ref();
            if self
                .owner_is_me(entry)
                .is_some_and(|o| o.handover_to.is_none())
                && !quiet
            {
                decision.answering.insert(*address);
            }
        }
        self.entries = entries;
        self.expire_silent(&round, &mut decision);
        self.forget_strangers();
        decision
    }

    /// Of nodes that neither a Lease nor a record names any more nothing is remembered.
    fn forget_strangers(&mut self) {
        let owners: BTreeSet<&NodeName> = self
            .entries
            .values()
            .filter_map(|entry| Some(&entry.record.as_ref()?.owner.as_ref()?.node))
            .collect();
        self.sessions.retain(|node| owners.contains(node));
        self.inquiries
            .retain(|node, inquiry| inquiry.under_way || owners.contains(node));
    }

    fn decide_one(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        let Some(record) = entry.record.clone() else {
            return;
        };
        if entry.writing {
            return;
        }
        if let Some(at) = entry.back_off.until(now) {
            return out.wake(Some(at));
        }
        match &record.owner {
            None => self.contend(address, entry, &record, ClaimReason::First, round, out),
            Some(owner) if self.owner_is_me(entry).is_some() => {
                entry.vacant_since = None;
                if self.leaving || !entry.is_candidate(&self.me) {
                    self.give_away(address, entry, &record, owner, round, out);
                } else if owner.handover_to.is_some()
                    || entry.offered.as_ref() == Some(&record.version)
                {
                    self.claim(address, entry, &record, ClaimReason::Kept, out);
                }
            }
            Some(owner) => {
                let invited = owner.handover_to.as_ref() == Some(&self.me);
                if invited && !self.leaving && entry.is_candidate(&self.me) {
                    return self.claim(address, entry, &record, ClaimReason::HandedOver, out);
                }
                match self.sessions.standing(&owner.node, &owner.session, now) {
                    Standing::Live { until } => {
                        entry.vacant_since = None;
                        out.wake(Some(until));
                    }
                    Standing::Silent { since, version } => {
                        round.silent.insert(owner.node.clone(), (since, version));
                    }
                    Standing::Unknown => {
                        round
                            .unknown
                            .insert(owner.node.clone(), owner.session.clone());
                    }
                    Standing::Dead => {
                        let reason = if owner.node == self.me {
                            ClaimReason::Restarted
                        } else {
                            ClaimReason::OwnerDied
                        };
                        self.contend(address, entry, &record, reason, round, out);
                    }
                }
            }
        }
    }

    /// Nobody owns the address: claim it when it is this node's turn.
    fn contend(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        reason: ClaimReason,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        let since = *entry.vacant_since.get_or_insert(now);
        let candidates: Vec<&Candidate> = entry
            .candidates
            .iter()
            .filter(|c| round.live.contains(&c.node))
            .collect();
        let mut ranked = order(address, &candidates, &round.load);
        if let Some(previous) = record.owner.as_ref().map(|owner| &owner.node)
            && let Some(position) = ranked.iter().position(|node| *node == previous)
        {
            // Its announcer started anew: the address stays where it was.
            ranked[..=position].rotate_right(1);
        }
        if let Some(best) = ranked.first() {
            *round.load.entry((*best).clone()).or_default() += 1;
        }
        let Some(rank) = ranked.iter().position(|node| **node == self.me) else {
            return;
        };
        if self.leaving {
            return;
        }
        let patience = match reason {
            ClaimReason::First => self.settings.first_patience,
            _ => self.settings.patience,
        };
        let turn = since + patience * u32::try_from(rank).unwrap_or(u32::MAX);
        if now < turn {
            return out.wake(Some(turn));
        }
        if reason == ClaimReason::First {
            match entry.probe {
                Probe::Running => return,
                Probe::Clear(at) if now < at + self.settings.probe_validity => {}
                Probe::Unknown | Probe::Clear(_) => {
                    entry.probe = Probe::Running;
                    return out.probes.push(address);
                }
            }
        }
        self.claim(address, entry, record, reason, out);
    }

    fn claim(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        reason: ClaimReason,
        out: &mut Decision,
    ) {
        let Some(session) = self.session() else {
            return;
        };
        let before = record.owner.as_ref().map_or(0, |owner| owner.transitions);
        let transitions = match reason {
            ClaimReason::Kept => before,
            _ => before.saturating_add(1),
        };
        entry.writing = true;
        out.writes.push(Write::Claim {
            address,
            version: record.version.clone(),
            owner: Owner {
                node: self.me.clone(),
                session: session.clone(),
                transitions,
                handover_to: None,
            },
            reason,
        });
    }

    /// This node owns the address and should not: ask the best other candidate, one at a time.
    fn give_away(
        &self,
        address: IpAddr,
        entry: &mut Entry,
        record: &Record,
        owner: &Owner,
        round: &mut Round,
        out: &mut Decision,
    ) {
        let now = round.now;
        if let (Some(asked), Some((node, since))) = (&owner.handover_to, &entry.asked)
            && asked == node
        {
            let until = *since + self.settings.handover_patience;
            if now < until && round.live.contains(node) && entry.is_candidate(node) {
                return out.wake(Some(until));
            }
            entry.unwilling.insert(node.clone());
        }
        let others: Vec<&Candidate> = entry
            .candidates
            .iter()
            .filter(|c| c.node != self.me && round.live.contains(&c.node))
            .filter(|c| !entry.unwilling.contains(&c.node))
            .collect();
        let successor = order(address, &others, &round.load)
            .first()
            .map(|n| (*n).clone());
        entry.writing = true;
        entry.offered = Some(record.version.clone());
        let version = record.version.clone();
        let Some(successor) = successor else {
            entry.asked = None;
            return out.writes.push(Write::Release { address, version });
        };
        *round.load.entry(successor.clone()).or_default() += 1;
        entry.asked = Some((successor.clone(), now));
        let owner = Owner {
            handover_to: Some(successor),
            ..owner.clone()
        };
        out.writes.push(Write::HandOver {
            address,
            version,
            owner,
        });
    }

    /// Addresses by node: what is owned by live sessions, or being handed over.
    fn load(&self, now: Now) -> BTreeMap<NodeName, usize> {
        let mut load = BTreeMap::new();
        for owner in self
            .entries
            .values()
            .filter_map(|e| e.record.as_ref().and_then(|r| r.owner.as_ref()))
        {
            if matches!(
                self.sessions.standing(&owner.node, &owner.session, now),
                Standing::Live { .. }
            ) {
                let node = owner.handover_to.as_ref().unwrap_or(&owner.node);
                *load.entry(node.clone()).or_default() += 1;
            }
        }
        load
    }

    /// Whether a node's Lease may be read or expired now; if so, that counts as under way from here on.
    fn may_inquire(&mut self, node: &NodeName, now: Now, out: &mut Decision) -> bool {
        let inquiry = self.inquiries.entry(node.clone()).or_default();
        if inquiry.under_way {
            return false;
        }
        if let Some(at) = inquiry.back_off.until(now) {
            out.wake(Some(at));
            return false;
        }
        inquiry.under_way = true;
        true
    }

    fn expire_silent(&mut self, round: &Round, out: &mut Decision) {
        for (node, session) in &round.unknown {
            if self.may_inquire(node, round.now, out) {
                out.writes.push(Write::Inquire {
                    node: node.clone(),
                    session: session.clone(),
                });
            }
        }
        for (node, (since, version)) in &round.silent {
            let mut ranked: Vec<_> = round
                .live
                .iter()
                .map(|live| (score(node.as_str().as_bytes(), live.as_str()), live))
                .collect();
            ranked.sort();
            let rank = ranked
                .iter()
                .position(|(_, live)| **live == self.me)
                .unwrap_or(0);
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            let turn = *since + self.settings.expire_stagger * rank;
            if round.now < turn {
                out.wake(Some(turn));
            } else if self.may_inquire(node, round.now, out) {
                out.writes.push(Write::Expire {
                    node: node.clone(),
                    version: version.clone(),
                });
            }
        }
    }
}
