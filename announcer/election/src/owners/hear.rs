//! What peers say of addresses and of themselves, taken in.

use super::{Invitation, Owners, Rival};
use crate::Now;
use crate::names::{NodeName, SessionId};
use crate::peers::{Move, Report, Title};

impl Owners {
    pub(super) fn take_report(&mut self, report: Report, now: Now) {
        match report {
            Report::OwnEnded(_) => {
                // Not by its own word: it is not first for what it had.
                if let Some(session) = self.own.session().cloned() {
                    self.view.end(session, now);
                }
                self.own.lose();
            }
            Report::FewHear(few) => self.own.few_hear = few,
            Report::Claims(node, session, titles) => {
                for title in titles {
                    self.take_title(title, &node, &session, now);
                }
            }
            Report::Moves(node, session, moves) => {
                self.take_moves(&node, &session, moves, false, now);
            }
            Report::Ceded(node, session, moves) => {
                self.take_moves(&node, &session, moves, true, now);
            }
            Report::Up { merged, .. } => {
                self.merged |= merged;
                self.view.take(report, now);
            }
            Report::Down { .. }
            | Report::Unwatched { .. }
            | Report::Flags(..)
            | Report::Ended(..)
            | Report::EndedThoughHeard(_)
            | Report::Conceded(..)
            | Report::Vetoed { .. }
            | Report::SameName { .. } => self.view.take(report, now),
        }
    }

    fn take_moves(
        &mut self,
        node: &NodeName,
        session: &SessionId,
        moves: Vec<Move>,
        ceded: bool,
        now: Now,
    ) {
        if !self.view.hears(node, session) {
            return;
        }
        for Move {
            address,
            transitions,
        } in moves
        {
            let invited = &mut self.memory.entry(address).or_default().invited;
            let said_before = invited
                .as_ref()
                .filter(|before| before.is_from(session, transitions));
            *invited = Some(Invitation {
                session: session.clone(),
                transitions,
                ceded: ceded || said_before.is_some_and(|before| before.ceded),
                at: now,
            });
        }
    }

    fn take_title(&mut self, title: Title, node: &NodeName, session: &SessionId, now: Now) {
        if !self.view.is_present(node, session) {
            return;
        }
        let memory = self.memory.entry(title.address).or_default();
        if let Some(yielding) = &mut memory.yielding {
            yielding.heard |= yielding.to == *node && title.transitions > yielding.transitions;
        }
        let known = memory.rival.as_mut();
        match known.filter(|known| self.view.believes(known, now)) {
            Some(known) if known.title.beats(&known.node, &title, node) => {}
            Some(known) if known.title == title && known.session == *session => known.at = now,
            _ => {
                memory.rival = Some(Rival {
                    title,
                    node: node.clone(),
                    session: session.clone(),
                    since: now,
                    at: now,
                });
            }
        }
    }
}
