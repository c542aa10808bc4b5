//! The permit: until when this node may answer, as a moment of its own clock.

use super::link::ACK_WINDOWS;
use super::{Action, Peers};
use crate::Now;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Permit {
    /// Until then; in the past if not at all.
    pub(super) until: Now,
    /// As far as session and records go.
    pub(super) allowed: Now,
    /// When the responder was last seen to make progress.
    pub(super) responder: Now,
    /// When the API server was asked that last said that the session is ours.
    confirmed: Option<Now>,
    /// When the own session began.
    pub(super) began: Now,
    /// When the permit ran out by itself: nothing counts that was sent before.
    lapsed: Option<Now>,
    confirm_at: Now,
    /// When the last of our beats that anybody acknowledged was sent.
    acked: Option<Now>,
    /// Some session that is not ended has heard us, and could end ours.
    watched: bool,
}

impl Permit {
    pub(super) fn began(&mut self, at: Now) {
        self.began = at;
        self.confirmed = Some(at);
        self.lapsed = None;
        self.acked = None;
        self.watched = false;
    }

    /// A watcher acknowledges what was sent then.
    pub(super) fn acknowledged(&mut self, at: Now) {
        self.acked = self.acked.max(Some(at));
        self.watched = true;
    }

    pub(super) fn confirmed(&mut self, at: Now) {
        self.confirmed = self.confirmed.max(Some(at));
        if self.lapsed.is_some_and(|lapsed| at >= lapsed) {
            self.lapsed = None;
        }
    }

    /// The process slept, as a peer's sequence shows.
    pub(super) fn lapse(&mut self, now: Now) {
        self.lapsed = Some(now);
        self.until = Now::ZERO;
    }
}

impl Peers {
    /// A permit that ran out while nobody looked does not come back by itself: a peer may have fenced us meanwhile.
    pub(super) fn notice_lapse(&mut self, now: Now) {
        let ran_out = self.permit.until > Now::ZERO && now > self.permit.until;
        if ran_out && self.session.is_some() && self.permit.watched {
            self.permit.lapse(now);
            self.wrongs.lapse();
        }
    }

    /// Who could end our session may have ended itself.
    pub(super) fn look_who_watches(&mut self) {
        self.permit.watched = self
            .segments
            .values()
            .any(|segment| segment.members().next().is_some());
    }

    pub(super) fn renew_permit(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(session) = self.session.clone() else {
            self.permit.until = Now::ZERO;
            return;
        };
        let window = self.window();
        let (acked, watched) = (self.permit.acked, self.permit.watched);
        let sent = self.sent.back().map_or(Now::ZERO, |(_, at)| *at + window);
        let heard = acked.map_or(Now::ZERO, |at| at + window * ACK_WINDOWS);
        let read = self
            .permit
            .confirmed
            .map_or(Now::ZERO, |at| at + self.settings.confirmation);
        if self
            .permit
            .lapsed
            .is_some_and(|lapsed| self.is_trusted_again(lapsed, now))
        {
            self.permit.lapsed = None;
        }
        let mut until = self
            .permit
            .allowed
            .min(self.permit.responder + self.settings.progress)
            .min(sent);
        if watched {
            until = until.min(heard.max(read));
        }
        let in_doubt = self.permit.lapsed.is_some();
        self.permit.until = if in_doubt { Now::ZERO } else { until };
        let stale = watched && acked.is_none_or(|at| now > at + window);
        if (in_doubt || stale) && now >= self.permit.confirm_at {
            self.permit.confirm_at = now + self.settings.confirmation / 4;
            out.push(Action::Confirm(session));
        }
    }

    /// Without the API server: a second after the lapse, more than half of the watchers acknowledge what was sent since.
    fn is_trusted_again(&self, lapsed: Now, now: Now) -> bool {
        let (fresh, all) = self
            .segments
            .values()
            .flat_map(super::Segment::members)
            .fold((0, 0), |(fresh, all), (_, link)| {
                (
                    fresh + usize::from(link.acked.is_some_and(|at| at > lapsed)),
                    all + 1,
                )
            });
        now >= lapsed + self.settings.confirmation && fresh * 2 > all
    }
}
