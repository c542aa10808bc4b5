//! What is to be told as Events.

use std::net::IpAddr;

use super::{Brain, Notice, Subject};

/// Unreadable objects remembered, so that each is told of once.
const TOLD: usize = 1024;

impl Brain {
    pub(super) fn notify(
        &mut self,
        address: IpAddr,
        warning: bool,
        reason: &'static str,
        note: String,
    ) {
        let Some(lbip) = self.world.lbips.get(&address) else {
            return;
        };
        let mut subjects = vec![Subject::Address(lbip.name.clone(), lbip.uid.clone())];
        let holders = lbip.holders.iter();
        subjects.extend(holders.map(|(key, uid)| Subject::Service(key.clone(), uid.clone())));
        self.notices.push(Notice {
            subjects,
            warning,
            reason,
            note,
        });
    }

    /// The reporter tells it once on the object itself; every node has it in its log.
    pub(super) fn unreadable(&mut self, subject: Subject, error: String) {
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        if self.live.first() == Some(&self.me) && self.told.insert((subject.clone(), error.clone()))
        {
            let note = format!("cannot be read and is left out: {error}");
            let subjects = vec![subject];
            self.notices.push(Notice {
                subjects,
                warning: true,
                reason: "Unreadable",
                note,
            });
        }
    }
}
