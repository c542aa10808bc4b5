//! Giving an address away: the successor answers before the old owner stops. What is under way still comes to the old
//! one for a while; it is forwarded there as on every node, for that takes no owner.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::rank::{Candidate, rank};
use super::round::Round;
use super::{Decision, Kind, Memory, Owner, Owners, Record, Tell, Work, Write, Yielding};
use crate::names::NodeName;
use crate::peers::{Body, Move, To};

impl Owners {
    /// This node owns the address and should not: asks the best other candidate, one at a time.
    pub(super) fn give_away(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        must: bool,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let Some(owner) = self.owner_is_me(record) else {
            return;
        };
        let mut successor = self.successor(address, &memory.unwilling, must, round);
        if must && successor.is_none() && !memory.unwilling.is_empty() {
            // Better to ask them again than to leave it to nobody.
            memory.unwilling.clear();
            successor = self.successor(address, &memory.unwilling, must, round);
        }
        let version = record.version.clone();
        let Some(successor) = successor else {
            memory.yielding = None;
            if must && self.has_api(round.now) {
                memory.work = Work::Writing(Kind::Release);
                out.writes.push(Write::Release { address, version });
                out.answering.remove(&address);
            }
            return;
        };
        *round.load.entry(successor.clone()).or_default() += 1;
        let until = round.now + self.settings.handover;
        memory.yielding = Some(Yielding {
            to: successor.clone(),
            transitions: owner.transitions,
            until,
            heard: false,
        });
        out.wake(until);
        memory.tell = Tell::Nothing;
        if self.has_api(round.now) {
            memory.work = Work::Writing(Kind::Amend);
            let owner = Owner {
                handover_to: Some(successor),
                ..owner.clone()
            };
            out.writes.push(Write::Amend {
                address,
                version,
                owner,
            });
        } else {
            memory.tell = Tell::Moved;
            self.tell_move(address, &successor, record, out);
        }
    }

    /// Told by frame, after the record says so: watches are late.
    pub(super) fn tell_move(
        &self,
        address: IpAddr,
        to: &NodeName,
        record: &Record,
        out: &mut Decision,
    ) {
        if let Some(owner) = &record.owner {
            let moves = vec![Move {
                address,
                transitions: owner.transitions,
            }];
            out.say.push((To::Node(to.clone()), Body::Moves(moves)));
        }
    }

    fn successor(
        &self,
        address: IpAddr,
        unwilling: &BTreeSet<NodeName>,
        must: bool,
        round: &Round<'_>,
    ) -> Option<NodeName> {
        let fit = |candidate: &&Candidate| {
            let heard = self.view.flags(&candidate.node);
            candidate.node != self.me
                && round.live.contains(&candidate.node)
                && !unwilling.contains(&candidate.node)
                // Who says of itself that it cannot serve, is being drained, or is heard by few, is no better than this
                // node; it is only where this one may not have it any more.
                && heard.is_none_or(|flags| {
                    flags.programmed
                        && !flags.few_hear
                        && flags.has_api
                        && (must || !flags.draining)
                })
                && (must || !candidate.cordoned)
        };
        let candidates: Vec<&Candidate> = round.candidates(address).iter().filter(fit).collect();
        rank(address, &candidates, &round.load)
            .first()
            .map(|node| (*node).clone())
    }

    /// Who answers if this node is ended.
    pub(super) fn standby(&self, address: IpAddr, round: &mut Round<'_>) -> Option<NodeName> {
        let others = round.candidates(address).iter();
        let others: Vec<&Candidate> = others
            .filter(|candidate| candidate.node != self.me && round.live.contains(&candidate.node))
            .collect();
        let standby = rank(address, &others, &round.standbys)
            .first()
            .map(|node| (*node).clone());
        if let Some(standby) = &standby {
            *round.standbys.entry(standby.clone()).or_default() += 1;
        }
        standby
    }
}
