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
    /// Without the API server since, while a peer had it.
    alone_since: Option<Now>,
}

impl Own {
    pub(super) fn begin(&mut self, session: SessionId, at: Now) {
        self.session = Some((session, at));
        self.alone_since = None;
    }

    pub(super) fn renewed(&mut self, session: &SessionId, at: Now) {
        if let Some((own, last)) = &mut self.session
            && own == session
        {
            *last = (*last).max(at);
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

    /// Whether this node alone lost the API server: a peer has had it for longer than renewals lie apart, so that its
    /// word is not one of before an outage of all.
    pub(super) fn is_losing(&self, now: Now) -> bool {
        let apart = self.settings.duration * 2 / 5;
        self.own
            .alone_since
            .is_some_and(|since| now >= since + apart)
    }

    pub(super) fn look_whether_alone(&mut self, now: Now) {
        let alone = self.session().is_some() && !self.has_api(now) && self.view.somebody_has_api();
        self.own.alone_since = if alone {
            Some(self.own.alone_since.unwrap_or(now))
        } else {
            None
        };
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
            draining: self.own.draining,
            leaving: self.own.leaving,
            programmed: self.own.programmed,
            few_hear: self.own.few_hear,
        }
    }
}
