//! Giving an address away: the successor answers before the old owner stops. What is under way still comes to the old
//! one for a while; it is forwarded there as on every node, for that takes no owner.

use std::net::IpAddr;
use std::time::Duration;

use super::decide::first;
use super::rank::{Candidate, rank};
use super::round::Round;
use super::{Decision, Kind, Memory, Owner, Owners, Record, Tell, Work, Write, Yielding};
use crate::names::NodeName;
use crate::peers::Move;

/// How long until a successor that was not heard is told again that it is to answer.
const PAUSE: Duration = Duration::from_millis(100);

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
        let mut successor = self.successor(address, memory, owner, must, round);
        if must && successor.is_none() && !memory.unwilling.is_empty() {
            // Better to ask them again than to leave it to nobody.
            memory.unwilling.clear();
            successor = self.successor(address, memory, owner, must, round);
        }
        let version = record.version.clone();
        let Some(successor) = successor else {
            if memory.work != Work::Idle {
                return;
            }
            memory.yielding = None;
            if must && self.has_api(round.now) && !self.waits_for_heir(address, memory, round, out)
            {
                memory.work = Work::Writing(Kind::Release);
                out.writes.push(Write::Release { address, version });
                out.answering.remove(&address);
            }
            return;
        };
        memory.deserted_since = None;
        let session = self.view.session(&successor).cloned();
        // By a frame alone where there is nothing to be kept up: until a record says so, and another is written, nobody
        // would answer.
        let ceded = round.is_without_interface(address)
            && session.is_some()
            && (memory.ceded_to != session || !self.has_api(round.now));
        if !ceded && memory.work != Work::Idle {
            return;
        }
        *round.load.entry(successor.clone()).or_default() += 1;
        let until = round.now
            + match ceded {
                true => self.settings.cession,
                false => self.settings.handover,
            };
        memory.yielding = Some(Yielding {
            to: successor.clone(),
            transitions: owner.transitions,
            until,
            heard: false,
            ceded,
        });
        out.wake(until);
        memory.tell = Tell::Nothing;
        if ceded {
            memory.ceded_to = session;
            out.answering.remove(&address);
            tell_again(address, memory, &successor, record, round, out);
        } else if self.has_api(round.now) {
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
            tell_again(address, memory, &successor, record, round, out);
        }
    }

    /// Whether somebody may be there in a moment: who begins a session anew is told by a frame that it is to answer. Of an
    /// address that nobody has it must first ask the network.
    fn waits_for_heir(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        round: &Round<'_>,
        out: &mut Decision,
    ) -> bool {
        let since = *memory.deserted_since.get_or_insert(round.now);
        let until = since + self.settings.first_patience;
        let waits = !self.own.leaving && round.is_without_interface(address) && round.now < until;
        if waits {
            out.wake(until);
        }
        waits
    }

    fn successor(
        &self,
        address: IpAddr,
        memory: &Memory,
        owner: &Owner,
        must: bool,
        round: &Round<'_>,
    ) -> Option<NodeName> {
        let cedes = round.is_without_interface(address);
        let fit = |candidate: &&Candidate| {
            let heard = self.view.flags(&candidate.node);
            candidate.node != self.me
                && round.live.contains(&candidate.node)
                && !memory.unwilling.contains(&candidate.node)
                // Who says of itself that it cannot serve, is being drained, or is heard by few, is no better than this
                // node; it is only where this one may not have it any more.
                && heard.is_none_or(|flags| {
                    flags.programmed
                        && !flags.few_hear
                        && (flags.has_api || cedes && !self.has_api(round.now))
                        && (must || !flags.draining)
                })
                && (must || !candidate.cordoned)
        };
        let candidates: Vec<&Candidate> = round.candidates(address).iter().filter(fit).collect();
        let mut ranked = rank(address, &candidates, &round.load);
        if must {
            // It would have it too if this node died before the other took it.
            first(&mut ranked, owner.standby.as_ref());
        }
        if cedes {
            // Whom this node hears can be told at once: of many nodes those are few.
            ranked.sort_by_key(|node| self.view.flags(node).is_none());
        }
        ranked.first().map(|node| (*node).clone())
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

/// Tells a successor by frame. After the record says so, because watches are late, once; or again and again, if there is
/// nothing but this.
pub(super) fn tell_again(
    address: IpAddr,
    memory: &mut Memory,
    to: &NodeName,
    record: &Record,
    round: &mut Round<'_>,
    out: &mut Decision,
) {
    let ceded = memory
        .yielding
        .as_ref()
        .is_some_and(|yielding| yielding.ceded);
    match memory.tell {
        Tell::Moved => return,
        Tell::Ceded(at) if round.now < at => return out.wake(at),
        _ if ceded => {
            let at = round.now + PAUSE;
            memory.tell = Tell::Ceded(at);
            out.wake(at);
        }
        _ => memory.tell = Tell::Moved,
    }
    if let Some(owner) = &record.owner {
        let told = round.moves.entry((to.clone(), ceded)).or_default();
        told.push(Move {
            address,
            transitions: owner.transitions,
        });
    }
}
