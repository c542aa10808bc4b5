//! A node that hears of its session's end says so itself.
//!
//! Without the API server it can begin no other, and would be taken for dead for as long: whoever hears this knows that its
//! process lives, and hears. One that is deaf never says it.

use super::frame::{Body, Fenced, Frame};
use super::{Action, Peers, Report, SegmentId, TOLD, To};
use crate::Now;
use crate::names::SessionId;

impl Peers {
    /// Takes a frame of another in, and says what its own session came to by it.
    pub(super) fn hear(&mut self, id: SegmentId, frame: Frame, now: Now, out: &mut Vec<Action>) {
        let own = self.session.clone();
        let told_again = self.is_told_again(&frame, now);
        let conceded = concedes(&frame).then(|| (frame.node.clone(), frame.session.clone()));
        self.take(id, frame, now, out);
        if let Some((node, session)) = conceded
            && self.tombstones.concede(&session)
        {
            out.push(Action::Report(Report::Conceded(node, session)));
        }
        match own {
            // Not of one that goes on elsewhere.
            Some(own) if self.session.is_none() && self.tombstones.contains(&own) => {
                self.concede(own, 1, now, out);
            }
            None if let (Some(times), Some((own, ..))) = (told_again, self.conceded.clone()) => {
                self.concede(own, times + 1, now, out);
            }
            _ => {}
        }
    }

    /// Peers list the last session of a node that has none: the word of it may be lost like any other.
    fn is_told_again(&self, frame: &Frame, now: Now) -> Option<u32> {
        let (own, times, at) = self.conceded.as_ref()?;
        let Body::Beat(beat) = &frame.body else {
            return None;
        };
        (*times < TOLD && now >= *at + self.settings.interval && beat.ended.contains(own))
            .then_some(*times)
    }

    fn concede(&mut self, own: SessionId, times: u32, now: Now, out: &mut Vec<Action>) {
        let fenced = Fenced {
            node: self.me.clone(),
            session: own.clone(),
            by: self.me.clone(),
            written: false,
        };
        for id in self.segments.keys() {
            let frame = Frame {
                node: self.me.clone(),
                session: own.clone(),
                body: Body::Fenced(fenced.clone()),
            };
            out.push(Action::Send(*id, To::All, frame));
        }
        self.conceded = Some((own, times, now));
    }
}

/// Whether it says that the session it speaks for is over.
fn concedes(frame: &Frame) -> bool {
    let Body::Fenced(fenced) = &frame.body else {
        return false;
    };
    fenced.node == frame.node && fenced.session == frame.session
}
