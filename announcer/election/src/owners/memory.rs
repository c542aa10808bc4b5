//! How what is remembered of an address becomes stale.

use super::view::View;
use super::{Invitation, Memory, Owner, Record, Rival, Settings, State};
use crate::Now;
use crate::names::SessionId;

/// What a record says of who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Of {
    /// Identity of the object.
    uid: String,
    /// The owner's session, and how many owners were counted.
    owner: Option<(SessionId, u64)>,
}

impl Memory {
    /// Forgets what was remembered of another owner, or of another object of the same address.
    pub(super) fn keep_to(&mut self, record: &Record, overlap: Now) {
        let owner = record.owner.as_ref();
        let has_come_to =
            |rival: &Rival| owner.is_some_and(|owner| owner.transitions >= rival.title.transitions);
        // What the record says as well is not remembered, however often it is said again.
        let is_of = |rival: &Rival| owner.is_some_and(|owner| owner.session == rival.session);
        self.rival
            .take_if(|rival| has_come_to(rival) && is_of(rival));
        let of = Of {
            uid: record.uid.clone(),
            owner: owner.map(|owner| (owner.session.clone(), owner.transitions)),
        };
        // Whoever is on record is so until it had nobody: owners are counted anew after that, and what was said of those
        // before will not be read any more.
        let began_anew = of.owner.is_none()
            || self
                .of
                .as_ref()
                .is_some_and(|of_before| of.counts_anew(of_before));
        self.rival
            .take_if(|rival| began_anew && rival.title.written);
        if self.of.as_ref() == Some(&of) {
            return;
        }
        let another_object = self.of.as_ref().is_some_and(|of| of.uid != record.uid);
        self.of = Some(of);
        if let Some(yielding) = &mut self.yielding {
            yielding.until = overlap;
        }
        self.vacant_since = None;
        self.unwilling.clear();
        self.ceded_to = None;
        self.deserted_since = None;
        self.probed = None;
        self.invited = self
            .invited
            .take()
            .filter(|invited| owner.is_some_and(|owner| owner.session == invited.session));
        if another_object {
            *self = Self {
                of: self.of.take(),
                ..Self::default()
            };
        }
        self.rival.take_if(|rival| has_come_to(rival));
    }

    /// The owner's word, as its record stands, that this node is to take the address.
    pub(super) fn invitation(&self, owner: &Owner) -> Option<&Invitation> {
        let invited = self.invited.as_ref();
        invited.filter(|invited| invited.is_from(&owner.session, owner.transitions))
    }

    /// What was said some time ago and is not acted on is no invitation any more; and who has somebody is not vacant.
    pub(super) fn lapse(&mut self, state: &State, now: Now, settings: &Settings) {
        if !matches!(state, State::Vacant | State::Orphaned) {
            self.vacant_since = None;
        }
        if *state == State::Inherited
            && let Some(invited) = &mut self.invited
        {
            invited.at = now;
        }
        self.invited.take_if(|invited| {
            // As long as its owner means it, a cession is said again.
            let lasts = match invited.ceded {
                true => settings.cession * 2,
                false => settings.handover,
            };
            now > invited.at + lasts
        });
    }

    /// Until a record says who has it: a title that none says yet is of a peer that is about to write.
    pub(super) fn is_ceding(&self, view: &View, now: Now) -> bool {
        let yielding = self.yielding.as_ref();
        let rival = self.rival.as_ref();
        yielding.is_some_and(|yielding| yielding.ceded)
            || rival.is_some_and(|rival| !rival.title.written && view.believes(rival, now))
    }
}

impl Of {
    /// Whether there was nobody between `before` and this: another owner, and no more of them than before.
    fn counts_anew(&self, before: &Self) -> bool {
        match (&self.owner, &before.owner) {
            (Some((session, count)), Some((of_before, count_before))) => {
                count < count_before || count == count_before && session != of_before
            }
            _ => false,
        }
    }
}

impl Invitation {
    /// Whether it is of this session, when the record had counted so many owners.
    pub(super) fn is_from(&self, session: &SessionId, transitions: u64) -> bool {
        self.session == *session && self.transitions == transitions
    }
}
