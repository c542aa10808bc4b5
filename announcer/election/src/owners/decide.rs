//! Deciding: for every address, what this node should do about it now.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::rank::{Candidate, rank};
use super::round::Round;
use super::successor::tell_again;
use super::{
    ClaimReason, Decision, Kind, Memory, Owner, Owners, Record, State, Tell, Work, World, Write,
};
use crate::Now;
use crate::names::NodeName;
use crate::peers::{Body, Title, To};

/// The longest a decision is good for: what it allows must be renewed.
const TURN: Duration = Duration::from_millis(500);

/// How often a claim is told, and after which pause again.
pub(super) const CLAIMED: u32 = 3;
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

impl Owners {
    /// Says what to do now. Writes and probes it returns count as under way from here on.
    pub fn decide(&mut self, world: &World<'_>, now: Now) -> Decision {
        self.look_whether_alone(now);
        self.look_whether_blind(now);
        self.look_whom_to_watch(now);
        let mut out = Decision {
            flags: self.flags(now),
            wake_at: now + TURN,
            ..Decision::default()
        };
        let known = |address: &IpAddr| {
            world.records.contains_key(address) || world.candidates.contains_key(address)
        };
        self.memory.retain(|address, _| known(address));
        let Some(allowed) = self.allowed(now) else {
            // Nothing is answered, and so nothing given away.
            for memory in self.memory.values_mut() {
                memory.yielding = None;
            }
            return out;
        };
        out.allowed = allowed;
        out.wake(allowed);
        if let Some(until) = self.view.doubts_until(now) {
            out.wake(until);
        }
        let (load, standbys) = self.loads(world, now);
        let mut round = Round {
            now,
            live: self.live_nodes(now),
            load,
            standbys,
            world: *world,
            silent: BTreeMap::new(),
            unknown: BTreeMap::new(),
            claims: Vec::new(),
            moves: BTreeMap::new(),
            amending: self.under_way(Kind::Amend),
            claiming: self.under_way(Kind::Claim),
        };
        let mut memory = std::mem::take(&mut self.memory);
        for (address, record) in world.records {
            let memory = memory.entry(*address).or_default();
            memory.keep_to(record, now + self.overlap(record));
            self.decide_one(*address, memory, record, &mut round, &mut out);
        }
        self.rebalance(&mut memory, &mut round, &mut out);
        self.memory = memory;
        self.tell(&mut round, &mut out);
        self.look_after_watched(&mut round, &mut out);
        self.end_silent(&round, &mut out);
        self.forget_strangers(world);
        out
    }

    /// How long this node answers on for an address that a record gives to another: where that one is heard, so is its
    /// claim.
    fn overlap(&self, record: &Record) -> Duration {
        match &record.owner {
            Some(owner) if self.view.hears(&owner.node, &owner.session) => self.settings.handover,
            _ => self.settings.unheard,
        }
    }

    fn decide_one(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let now = round.now;
        let candidates = round.candidates(address);
        let eligible = is_among(candidates, &self.me);
        self.forget_given_up(memory, candidates);
        let state = self.state(address, record, memory, eligible, now);
        memory.lapse(&state, now, &self.settings);
        self.answer(address, memory, record, &state, round, out);
        // A cession is no write, and waits for none.
        let cedes = match state {
            State::Mine => round.is_without_interface(address),
            State::Yielding { ceded, .. } => ceded || round.is_without_interface(address),
            _ => false,
        };
        match memory.work {
            Work::Writing(Kind::Amend | Kind::Claim) if cedes => {}
            Work::Pausing(until) if cedes && now < until => out.wake(until),
            Work::Writing(_) | Work::Probing => return,
            Work::Pausing(until) if now < until => return out.wake(until),
            Work::Pausing(_) | Work::Idle => memory.work = Work::Idle,
        }
        match state {
            State::Vacant => self.contend(address, memory, record, ClaimReason::First, round, out),
            State::Mine => self.keep(address, memory, record, eligible, round, out),
            State::Yielding { to, until, ceded } => {
                // It was being handed over, and now there is nothing to be kept up.
                let session = self.view.session(&to);
                let becomes_cession = !ceded
                    && round.is_without_interface(address)
                    && session.is_some()
                    && memory.ceded_to.as_ref() != session;
                let takes_back = ceded && eligible && !self.own.leaving;
                if !becomes_cession && !takes_back {
                    let may_take = is_among(candidates, &to);
                    if now < until && may_take && round.live.contains(&to) {
                        out.wake(until);
                        return tell_again(address, memory, &to, record, round, out);
                    }
                    memory.ceded_to.take_if(|_| !ceded);
                    // A candidate that was not heard is asked once more, by the record.
                    if !ceded || !may_take || !self.has_api(now) {
                        memory.unwilling.insert(to);
                    }
                }
                memory.yielding = None;
                memory.tell = Tell::Nothing;
                if takes_back {
                    out.answering.insert(address);
                    return out.wake(now);
                }
                self.keep(address, memory, record, eligible, round, out);
            }
            State::Inherited => {
                // It answers already; the answer to a claim under way is the turn of the next.
                if self.has_api(now) && round.claiming < self.settings.claims {
                    let reason = match self.is_over(record, now) {
                        true => ClaimReason::OwnerDied,
                        false => ClaimReason::HandedOver,
                    };
                    self.claim(address, memory, record, reason, round, out);
                }
            }
            State::Invited => {
                self.claim(address, memory, record, ClaimReason::HandedOver, round, out)
            }
            State::Orphaned => {
                let restarted = record
                    .owner
                    .as_ref()
                    .is_some_and(|owner| owner.node == self.me);
                let reason = if restarted {
                    ClaimReason::Restarted
                } else {
                    ClaimReason::OwnerDied
                };
                self.contend(address, memory, record, reason, round, out);
            }
            State::HandedOver { until } => {
                out.wake(until);
                self.watch(record, round, out);
            }
            State::Foreign => self.watch(record, round, out),
            State::Outbid => out.wake(now + TURN),
        }
    }

    /// Whoever leaves, or may not have the address, answers no more by a title that no record says, and does not say so.
    fn forget_given_up(&self, memory: &mut Memory, candidates: &[Candidate]) {
        memory.rival.take_if(|rival| {
            let flags = self.view.flags(&rival.node);
            let leaves = flags.is_some_and(|flags| flags.leaving);
            !rival.title.written && (leaves || !is_among(candidates, &rival.node))
        });
    }

    /// Whether the address is answered for, and told of.
    fn answer(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        state: &State,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let now = round.now;
        let quiet = matches!(memory.work, Work::Writing(Kind::Release));
        let answers = match state {
            State::Mine | State::Yielding { ceded: false, .. } => !quiet,
            State::Inherited | State::HandedOver { .. } => true,
            _ => false,
        };
        if answers {
            out.answering.insert(address);
            self.rebut(address, memory, record, state, out);
        } else if !matches!(state, State::Yielding { .. }) {
            memory.yielding = None;
        }
        match state {
            State::Inherited if memory.tell == Tell::Nothing => {
                memory.tell = Tell::Claim {
                    times: CLAIMED,
                    at: now,
                }
            }
            State::Inherited => {
                // Until a record says so nothing but this keeps others from taking it for an orphan.
                if let Tell::Claim { times: 0, at } = memory.tell
                    && now >= at + self.settings.title / 4
                {
                    memory.tell = Tell::Claim { times: 1, at: now };
                }
            }
            State::Orphaned => {}
            State::Mine | State::Yielding { .. } => {
                memory.taken = false;
                if memory.tell == Tell::Nothing && memory.work == Work::Writing(Kind::Claim) {
                    // The watch was quicker than the answer to the write.
                    memory.tell = Tell::Claim {
                        times: CLAIMED,
                        at: now,
                    };
                }
            }
            _ => {
                memory.taken = false;
                memory.tell = Tell::Nothing;
            }
        }
        if answers && self.merged {
            // After a split all of it is told, but for what another has and this one answers only until that is heard.
            round.claims.extend(self.title(address, state, record));
        } else if let (true, Tell::Claim { times, at }) = (answers, memory.tell) {
            if times > 0 && now >= at {
                round.claims.extend(self.title(address, state, record));
                memory.tell = Tell::Claim {
                    times: times - 1,
                    at: now + CLAIM_PAUSE,
                };
            }
            if times > 1 {
                out.wake(now + CLAIM_PAUSE);
            }
        }
    }

    /// A peer with a lower title answers for the address as well: it is told, and the network is told again.
    fn rebut(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        state: &State,
        out: &mut Decision,
    ) {
        let (Some(mine), Some(rival)) = (self.title(address, state, record), &memory.rival) else {
            return;
        };
        if mine.beats(&self.me, &rival.title, &rival.node) {
            memory.rival = None;
            out.say.push(claim(mine));
            out.announce.insert(address);
        }
    }

    /// This node owns the address.
    fn keep(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        eligible: bool,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let Some(owner) = self.owner_is_me(record) else {
            return;
        };
        let must = self.own.leaving || !eligible;
        if !must {
            memory.ceded_to = None;
            memory.deserted_since = None;
        }
        if must || self.own.draining || self.own.few_hear || self.is_losing() {
            self.give_away(address, memory, record, must, round, out);
            if memory.yielding.is_some() || must {
                return;
            }
        }
        if memory.work != Work::Idle {
            return;
        }
        let asked = owner.handover_to.is_some();
        // Whoever may not have it answers for nobody.
        let stands_by = |standby: &NodeName| {
            round.live.contains(standby) && is_among(round.candidates(address), standby)
        };
        let lame = !owner.standby.as_ref().is_some_and(stands_by);
        if !self.has_api(round.now)
            || !asked && (!lame || !round.has_time_for_standbys(&self.settings))
        {
            return;
        }
        let standby = if lame {
            self.standby(address, round)
        } else {
            owner.standby.clone()
        };
        if asked || standby != owner.standby {
            round.amending += 1;
            memory.work = Work::Writing(Kind::Amend);
            let owner = Owner {
                standby,
                handover_to: None,
                ..owner.clone()
            };
            out.writes.push(Write::Amend {
                address,
                version: record.version.clone(),
                owner,
            });
        }
    }

    /// Nobody owns the address: claims it when it is this node's turn.
    fn contend(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        reason: ClaimReason,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let now = round.now;
        let since = *memory.vacant_since.get_or_insert(now);
        let candidates: Vec<&Candidate> = round
            .candidates(address)
            .iter()
            .filter(|candidate| round.live.contains(&candidate.node))
            .collect();
        let mut ranked = rank(address, &candidates, &round.load);
        let standby = record
            .owner
            .as_ref()
            .and_then(|owner| owner.standby.clone());
        first(&mut ranked, standby.as_ref());
        // Its announcer began anew by its own word: the address stays where it was.
        first(&mut ranked, self.comes_back(record).as_ref());
        if let Some(best) = ranked.first() {
            *round.load.entry((*best).clone()).or_default() += 1;
        }
        let Some(place) = ranked.iter().position(|node| **node == self.me) else {
            return;
        };
        // Where everybody has lost the same, nobody is better off.
        let is_better_off = |node: &NodeName| {
            *node != self.me && !self.view.flags(node).is_some_and(|flags| flags.few_hear)
        };
        let is_lost = self.own.few_hear && ranked.iter().any(|node| is_better_off(node));
        if self.own.leaving || self.view.is_cut_off(now) || is_lost {
            return;
        }
        let ended = record
            .owner
            .as_ref()
            .is_some_and(|owner| self.view.was_ended(&owner.session));
        let patience = match reason {
            ClaimReason::First => self.settings.first_patience,
            _ if ended => self.settings.fast_patience,
            _ => self.settings.patience,
        };
        // A standby answers before it writes; its claim is heard sooner than its record is seen.
        let head = match ranked.first() {
            Some(best) if ended && place > 0 && standby.as_ref() == Some(*best) => {
                self.settings.standby_patience
            }
            _ => Duration::ZERO,
        };
        let turn = since + head + patience * u32::try_from(place).unwrap_or(u32::MAX);
        if now < turn {
            return out.wake(turn);
        }
        if !self.has_api(now) {
            // Nothing can be written: in turn, and by title.
            memory.taken = ended;
            if ended {
                out.wake(now);
            }
            return;
        }
        if reason == ClaimReason::First
            && memory
                .probed
                .is_none_or(|at| now >= at + self.settings.probe_validity)
        {
            memory.work = Work::Probing;
            return out.probes.push(address);
        }
        self.claim(address, memory, record, reason, round, out);
    }

    fn claim(
        &self,
        address: IpAddr,
        memory: &mut Memory,
        record: &Record,
        reason: ClaimReason,
        round: &mut Round<'_>,
        out: &mut Decision,
    ) {
        let Some(session) = self.session() else {
            return;
        };
        let before = record.owner.as_ref().map_or(0, |owner| owner.transitions);
        memory.work = Work::Writing(Kind::Claim);
        round.claiming += 1;
        let owner = Owner {
            node: self.me.clone(),
            session: session.clone(),
            standby: self.standby(address, round),
            transitions: before.saturating_add(1),
            handover_to: None,
        };
        out.writes.push(Write::Claim {
            address,
            version: record.version.clone(),
            owner,
            reason,
        });
    }
}

fn is_among(candidates: &[Candidate], node: &NodeName) -> bool {
    candidates.iter().any(|candidate| candidate.node == *node)
}

/// Puts a node before all others, if it is among them.
pub(super) fn first(ranked: &mut [&NodeName], node: Option<&NodeName>) {
    if let Some(place) = ranked.iter().position(|ranked| Some(*ranked) == node) {
        ranked[..=place].rotate_right(1);
    }
}

fn claim(title: Title) -> (To, Body) {
    (To::All, Body::Claims(vec![title]))
}
