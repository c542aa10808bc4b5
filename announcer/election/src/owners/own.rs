//! Own session: until when it allows answers, with the API server and without.

use std::time::Duration;

use super::Owners;
use crate::Now;
use crate::names::SessionId;
use crate::peers::Flags;

/// Answers are allowed for so long at a time; what the record half does not renew ends.
const STEP: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// The session, and when its last acknowledged renewal was sent.
    session: Option<(SessionId, Now)>,
    /// Peers ended the session of the process before.
    pub(super) was_fenced: bool,
    pub(super) leaving: bool,
    pub(super) draining: bool,
    pub(super) programmed: bool,
    pub(super) few_hear: bool,
    /// Renewals acknowledged, as the peers are told.
    renewals: u8,
    /// The last write that the API server acknowledged was sent then.
    contact: Option<Now>,
    /// And one after it failed.
    pub(super) failing: bool,
    /// Peers have had the API server since.
    others_since: Option<Now>,
    /// Without the API server since, while a peer had it.
    alone_since: Option<Now>,
}

impl Own {
    pub(super) fn begin(&mut self, session: SessionId, at: Now) {
        self.session = Some((session, at));
        self.renewals = self.renewals.wrapping_add(1);
        self.alone_since = None;
    }

    pub(super) fn renewed(&mut self, session: &SessionId, at: Now) {
        if let Some((own, last)) = &mut self.session
            && own == session
        {
            *last = (*last).max(at);
            self.renewals = self.renewals.wrapping_add(1);
        }
    }

    pub(super) fn lose(&mut self) {
        self.session = None;
    }

    pub(super) const fn session(&self) -> Option<&SessionId> {
        match &self.session {
            Some((session, _)) => Some(session),
            None => None,
        }
    }
}

impl Owners {
    /// Whether the API server acknowledged a renewal in the last two periods.
    pub(super) fn has_api(&self, now: Now) -> bool {
        let renewed = self.own.session.as_ref().map(|(_, at)| *at);
        renewed.is_some_and(|at| now < at + self.settings.duration * 2 / 3)
    }

    /// Whether this node alone lost the API server.
    pub(super) const fn is_losing(&self) -> bool {
        self.own.alone_since.is_some()
    }

    /// Whether others have the API server while this node's renewal is overdue.
    pub(super) fn look_whether_alone(&mut self, now: Now) {
        self.own.others_since = if self.view.somebody_has_api() {
            self.own.others_since.or(Some(now))
        } else {
            None
        };
        let renewed = self.own.session.as_ref().map(|(_, at)| *at);
        self.own.alone_since = self.own.others_since.zip(renewed).and_then(|(since, at)| {
            let due = since.max(at + self.settings.duration / 3);
            self.view
                .renewals
                .alone_since(due, &self.settings, &self.me)
        });
    }

    /// A Lease that is not renewed in an outage is no sign of its node. Whoever is heard is known to live; of the others a
    /// node knows nothing before it has the API server itself, and they have had time to renew.
    pub(super) fn look_whether_blind(&mut self, now: Now) {
        if let Some(at) = self.own.contact
            && (self.own.failing || now >= at + self.settings.duration * 2 / 3)
        {
            self.view.leases.be_blind(at, now + self.settings.staggered);
        }
    }

    /// The API server has acknowledged a write of this node that was sent then.
    pub(super) fn has_contact(&mut self, at: Now, now: Now) {
        self.look_whether_blind(now);
        self.own.failing = false;
        self.own.contact = self.own.contact.max(Some(at));
        self.view.renewals.own();
    }

    /// The end of this node's session unless it is renewed, by this node's reckoning.
    pub fn deadline(&self) -> Option<Now> {
        let (_, renewed) = self.own.session.as_ref()?;
        Some(*renewed + self.settings.duration.saturating_sub(self.settings.margin))
    }

    /// Until when answers are allowed, if they are.
    ///
    /// Past the end of its session a node goes on if there is nobody to yield to, or if peers that hear it are without
    /// the API server like itself, and for a grace after the first of them has it again.
    pub(super) fn allowed(&self, now: Now) -> Option<Now> {
        let end = self.deadline()?;
        let step = now + STEP;
        if step <= end || self.goes_on(now) {
            return Some(step);
        }
        let end = match self.own.alone_since {
            Some(since) if self.view.hears_any() => {
                end.max(since + self.settings.alone.saturating_sub(self.settings.margin))
            }
            _ => end,
        };
        (now < end).then(|| end.min(step))
    }

    /// Whether the end of the session is no end: there is nobody to yield to, or those who hear this node are without the
    /// API server as well.
    fn goes_on(&self, now: Now) -> bool {
        let shared = self.view.hears_any() && !self.has_api(now) && self.own.alone_since.is_none();
        shared || !self.view.knows_others(&self.me, now)
    }

    pub(super) fn flags(&self, now: Now) -> Flags {
        Flags {
            has_api: self.has_api(now),
            alone: self
                .own
                .alone_since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            renewals: self.own.renewals,
            draining: self.own.draining,
            leaving: self.own.leaving,
            programmed: self.own.programmed,
            few_hear: self.own.few_hear,
        }
    }
}
