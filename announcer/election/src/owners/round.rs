//! What is decided once for all addresses: the loads before, claims to be told and Leases to be ended after.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rank::{Candidate, Load};
use super::view::Fate;
use super::{Decision, Kind, Owners, Settings, Work, World, Write};
use crate::Now;
use crate::names::{NodeName, SessionId, Version};
use crate::order::score;
use crate::peers::{Body, Move, Title, To};

/// What holds for all addresses of one decision.
pub(super) struct Round<'a> {
    pub(super) now: Now,
    pub(super) live: BTreeSet<NodeName>,
    /// Addresses by the node that owns them or is about to.
    pub(super) load: Load,
    /// The same, and what a node would inherit.
    pub(super) standbys: Load,
    pub(super) world: World<'a>,
    /// Sessions that were not renewed in time: since when, and the versions to end them at.
    pub(super) silent: BTreeMap<NodeName, (SessionId, Now, Version, Option<Version>)>,
    pub(super) unknown: BTreeMap<NodeName, SessionId>,
    pub(super) claims: Vec<Title>,
    /// What successors are told, and whether this node answers for it no more.
    pub(super) moves: BTreeMap<(NodeName, bool), Vec<Move>>,
    /// Amendments under way.
    pub(super) amending: usize,
    /// Claims under way.
    pub(super) claiming: usize,
}

impl<'a> Round<'a> {
    pub(super) fn candidates(&self, address: IpAddr) -> &'a [Candidate] {
        self.world
            .candidates
            .get(&address)
            .map_or(&[], Vec::as_slice)
    }

    /// What somebody waits for is written before who would be next.
    pub(super) fn has_time_for_standbys(&self, settings: &Settings) -> bool {
        self.claiming == 0 && self.amending < settings.standby_writes
    }

    /// Whether this node can answer for the address nowhere.
    pub(super) fn is_without_interface(&self, address: IpAddr) -> bool {
        self.world.without_interface.contains(&address)
    }
}

impl Owners {
    /// What peers must hear.
    pub(super) fn tell(&mut self, round: &mut Round<'_>, out: &mut Decision) {
        self.merged = false;
        for ((to, ceded), moves) in std::mem::take(&mut round.moves) {
            let body = match ceded {
                true => Body::Ceded(moves),
                false => Body::Moves(moves),
            };
            out.say.push((To::Node(to), body));
        }
        if !round.claims.is_empty() {
            out.say
                .push((To::All, Body::Claims(std::mem::take(&mut round.claims))));
        }
    }

    /// How many writes of a kind are not answered yet.
    pub(super) fn under_way(&self, kind: Kind) -> usize {
        let writes = self.memory.values().map(|memory| &memory.work);
        writes.filter(|work| **work == Work::Writing(kind)).count()
    }

    /// Addresses by node: what is owned by live sessions, or being handed over; and with what they would inherit.
    pub(super) fn loads(&self, world: &World<'_>, now: Now) -> (Load, Load) {
        let (mut load, mut standbys) = (Load::new(), Load::new());
        for owner in world
            .records
            .values()
            .filter_map(|record| record.owner.as_ref())
        {
            let mine = Some(&owner.session) == self.session();
            let live = mine
                || matches!(
                    self.view.fate(&owner.node, &owner.session, now),
                    Fate::Live { .. }
                );
            if live {
                let node = owner.handover_to.as_ref().unwrap_or(&owner.node);
                *load.entry(node.clone()).or_default() += 1;
                *standbys.entry(node.clone()).or_default() += 1;
                if let Some(standby) = &owner.standby {
                    *standbys.entry(standby.clone()).or_default() += 1;
                }
            } else if let Some(standby) = &owner.standby {
                *load.entry(standby.clone()).or_default() += 1;
                *standbys.entry(standby.clone()).or_default() += 1;
            }
        }
        (load, standbys)
    }

    /// The slow lane: Leases that ran out are emptied, and those never seen are read.
    pub(super) fn end_silent(&mut self, round: &Round<'_>, out: &mut Decision) {
        for (node, session) in &round.unknown {
            if self.may_inquire(node, round.now, out) {
                out.writes.push(Write::Inquire {
                    node: node.clone(),
                    session: session.clone(),
                });
            }
        }
        for (node, (session, since, version, renewal)) in &round.silent {
            let place =
                |live: &NodeName| (score(node.as_str().as_bytes(), live.as_str()), live.clone());
            let mine = place(&self.me);
            let watchers = self.watching.watchers(node);
            let live = watchers.iter().filter(|node| round.live.contains(*node));
            let before = live.filter(|live| place(live) < mine).count();
            let turn =
                *since + self.settings.expire_stagger * u32::try_from(before).unwrap_or(u32::MAX);
            if round.now < turn {
                out.wake(turn);
            } else if self.may_inquire(node, round.now, out) {
                out.writes.push(Write::Expire {
                    node: node.clone(),
                    session: session.clone(),
                    version: version.clone(),
                    renewal: renewal.clone(),
                });
            }
        }
    }

    /// Of nodes that neither a Lease nor a record names any more nothing is remembered.
    pub(super) fn forget_strangers(&mut self, world: &World<'_>) {
        let owners: BTreeSet<&NodeName> = world
            .records
            .values()
            .filter_map(|record| Some(&record.owner.as_ref()?.node))
            .collect();
        self.view.leases.retain(|node| owners.contains(node));
        self.inquiries.retain(|node, inquiry| {
            inquiry.under_way || owners.contains(node) || self.watching.contains(node)
        });
    }

    /// Whether a node's Lease may be read or expired now; if so, that counts as under way from here on.
    fn may_inquire(&mut self, node: &NodeName, now: Now, out: &mut Decision) -> bool {
        let inquiry = self.inquiries.entry(node.clone()).or_default();
        if inquiry.under_way {
            return false;
        }
        if let Some(at) = inquiry.retry_at.filter(|at| now < *at) {
            out.wake(at);
            return false;
        }
        inquiry.under_way = true;
        true
    }
}
