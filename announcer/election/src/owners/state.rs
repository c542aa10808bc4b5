//! An address's state: drawn from its record and what is remembered, and the only thing the rules go by.

use std::net::IpAddr;

use super::view::Fate;
use super::{Memory, Owners, Record, State};
use crate::Now;
use crate::names::NodeName;
use crate::peers::Title;

impl Owners {
    pub(super) fn state(
        &self,
        address: IpAddr,
        record: &Record,
        memory: &Memory,
        eligible: bool,
        now: Now,
    ) -> State {
        let Some(owner) = &record.owner else {
            return State::Vacant;
        };
        if self.owner_is_me(record).is_some() {
            let mine = Title {
                address,
                transitions: owner.transitions,
                written: true,
            };
            if self.is_outbid(memory, &mine, now) {
                return State::Outbid;
            }
            return match &memory.yielding {
                Some(yielding) => State::Yielding {
                    to: yielding.to.clone(),
                    until: yielding.until,
                    ceded: yielding.ceded,
                },
                None => State::Mine,
            };
        }
        let may_take = eligible && !self.own.leaving;
        let invited = memory.invitation(owner);
        let ceded = invited.is_some_and(|invited| invited.ceded);
        // By what a record says, only if the peers ended the session; else the write decides.
        let standby =
            owner.standby.as_ref() == Some(&self.me) && self.view.was_ended(&owner.session);
        // Whoever may answer at once does not wait for a claim, though it was asked for one before the owner died.
        let inherits = may_take && (standby || ceded) && !self.view.is_cut_off(now);
        let asked = owner.handover_to.as_ref() == Some(&self.me) || invited.is_some();
        if may_take && !inherits && asked {
            return State::Invited;
        }
        match self.view.fate(&owner.node, &owner.session, now) {
            Fate::Live { .. } | Fate::Silent { .. } | Fate::Unknown if !(inherits && ceded) => {
                match &memory.yielding {
                    Some(yielding)
                        if yielding.to == owner.node
                            && !yielding.heard
                            && !yielding.ceded
                            && now < yielding.until =>
                    {
                        State::HandedOver {
                            until: yielding.until,
                        }
                    }
                    _ => State::Foreign,
                }
            }
            _ => {
                let next = Title {
                    address,
                    transitions: owner.transitions.saturating_add(1),
                    written: false,
                };
                let rival = memory.rival.as_ref();
                if rival.is_some_and(|rival| rival.title.transitions >= next.transitions)
                    && self.is_outbid(memory, &next, now)
                {
                    return State::Foreign;
                }
                if inherits || may_take && memory.taken && !self.view.is_cut_off(now) {
                    State::Inherited
                } else {
                    State::Orphaned
                }
            }
        }
    }

    /// Whether a peer that may still answer has the higher title.
    fn is_outbid(&self, memory: &Memory, mine: &Title, now: Now) -> bool {
        memory.rival.as_ref().is_some_and(|rival| {
            self.view.believes(rival, now) && rival.title.beats(&rival.node, mine, &self.me)
        })
    }

    /// Whether the owner's session is over.
    pub(super) fn is_over(&self, record: &Record, now: Now) -> bool {
        let owner = record.owner.as_ref();
        let fate = owner.map(|owner| self.view.fate(&owner.node, &owner.session, now));
        matches!(fate, Some(Fate::Ended { .. } | Fate::Dead))
    }

    /// The title this node answers by, if it does.
    pub(super) fn title(&self, address: IpAddr, state: &State, record: &Record) -> Option<Title> {
        let owner = record.owner.as_ref()?;
        match state {
            State::Mine | State::Yielding { ceded: false, .. } => Some(Title {
                address,
                transitions: owner.transitions,
                written: true,
            }),
            State::Inherited => Some(Title {
                address,
                transitions: owner.transitions.saturating_add(1),
                written: false,
            }),
            _ => None,
        }
    }

    /// The node that must not be first for what it had: it was fenced; one that began anew by its own word may.
    pub(super) fn comes_back(&self, record: &Record) -> Option<NodeName> {
        let owner = record.owner.as_ref()?;
        let was_ended =
            self.view.was_ended(&owner.session) || owner.node == self.me && self.own.was_fenced;
        (!was_ended).then(|| owner.node.clone())
    }
}
