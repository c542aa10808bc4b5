//! Whether this node can still be reached: a link that carries nothing one way, and keeps its carrier.
//!
//! Counted in turns of this node, not in time: one that was late itself has heard nothing and missed nothing. The word goes
//! out with the beats before anything is done about it, so that nobody gives to one who has lost the same segment.

use super::link::Link;
use super::segment::Segment;
use super::{Action, Peers, Report, SegmentId};
use crate::Now;

/// After so many turns it is said, where everybody fell silent at once and is heard on another segment.
const SAID: u32 = 3;
/// And after so many it counts: everybody else's word is heard by then.
const COUNTS: u32 = 6;

/// How few hear this node on a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Fewer than half.
    Most,
    /// Nobody; and others hear it on another segment.
    All,
}

impl Peers {
    /// Takes a turn: who hears this node, and for how long too few.
    pub(super) fn look_who_hears(&mut self, was_late: bool, now: Now, out: &mut Vec<Action>) {
        let patience = self.settings.few_after.as_millis() / self.interval().as_millis().max(1);
        let patience = u32::try_from(patience).unwrap_or(u32::MAX).max(COUNTS);
        let (mut says, mut counts) = (false, false);
        let ids: Vec<SegmentId> = self.segments.keys().copied().collect();
        for id in ids {
            let Some(segment) = self.segments.get(&id) else {
                continue;
            };
            let loss = self.loss(id, segment, now).filter(|_| !was_late);
            let turns = match (loss, segment.loss) {
                (Some(loss), Some((before, turns))) if before == loss => turns.saturating_add(1),
                _ => 1,
            };
            // Where somebody has lost it as well, it is the segment, and no other node is better off.
            let is_ours = loss == Some(Loss::All) && self.is_sound_beside(id, segment);
            let (said, counted) = match is_ours {
                true => (SAID, COUNTS),
                false => (patience - SAID, patience),
            };
            if loss == Some(Loss::Most) && turns % COUNTS == 1 && segment.members().count() == 1 {
                out.push(Action::AskWitness(id));
            }
            says |= loss.is_some() && turns >= said;
            counts |= loss.is_some() && turns >= counted;
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.loss = loss.map(|loss| (loss, turns));
            }
        }
        self.flags.few_hear = says;
        if counts != self.lost {
            self.lost = counts;
            out.push(Action::Report(Report::FewHear(counts)));
        }
    }

    fn loss(&self, id: SegmentId, segment: &Segment, now: Now) -> Option<Loss> {
        let links = segment
            .targets
            .iter()
            .filter_map(|node| segment.links.get(node));
        let (hear, all, heard) = links.fold((0, 0, 0), |(hear, all, heard), link| {
            (
                hear + usize::from(link.hears_us()),
                all + usize::from(link.is_member()),
                heard + usize::from(link.is_fresh(now)),
            )
        });
        match (hear, all) {
            (0, 1) => self
                .is_lost_of_two(segment, heard > 0, now)
                .then_some(Loss::Most),
            (0, 2..) if self.beside(id, segment).next().is_some() => Some(Loss::All),
            _ if hear * 2 < all => Some(Loss::Most),
            _ => None,
        }
    }

    /// Of one watcher it is not known which of the two fell silent. A router that answers tells that it is not this node;
    /// one that answered once and does not any more, that it is. Without one, who hears the other is not heard itself.
    fn is_lost_of_two(&self, segment: &Segment, hears: bool, now: Now) -> bool {
        match segment.witnessed_at {
            Some(at) => now >= at + self.settings.few_after,
            None => hears,
        }
    }

    /// The links, on other segments, of those watched on this one who hear this node there.
    fn beside<'a>(&'a self, id: SegmentId, segment: &'a Segment) -> impl Iterator<Item = &'a Link> {
        let others = self.segments.iter().filter(move |(other, _)| **other != id);
        others
            .flat_map(|(_, other)| {
                let nodes = segment.targets.iter();
                nodes.filter_map(|node| other.links.get(node))
            })
            .filter(|link| link.hears_us())
    }

    /// Whether one of them has not lost a segment as well.
    fn is_sound_beside(&self, id: SegmentId, segment: &Segment) -> bool {
        self.beside(id, segment).any(|link| !link.flags.few_hear)
    }
}
