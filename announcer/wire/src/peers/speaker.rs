//! Frames out.

use super::envelope::{room, seal};
use super::pieces::pieces;
use super::{
    Body, Buffer, ClusterId, Frame, Key, LONGEST_LIST, LONGEST_NODE, LONGEST_SESSION, buffer,
};
use crate::Mac;

/// What a node needs to speak to its peers.
///
/// Its counter rises by one a frame: over all segments and destinations, and over its sessions too, so that no frame can
/// be said again elsewhere in the place of another.
#[derive(Debug)]
pub struct Speaker {
    cluster: ClusterId,
    counter: u64,
    out: Buffer,
}

impl Speaker {
    /// One that has not spoken yet. There is one a process.
    #[must_use]
    pub const fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            counter: 0,
            out: buffer(),
        }
    }

    /// Makes the frame, in as many as it takes, for `to` ([`super::GROUP`] or one station) from the interface with the
    /// address `from`, and gives each to `send`.
    ///
    /// # Errors
    /// A name or a list that no frame takes; nothing is sent then.
    pub fn say(
        &mut self,
        frame: &Frame<'_>,
        to: Mac,
        from: Mac,
        key: &Key,
        mut send: impl FnMut(&[u8]),
    ) -> Result<(), Unsayable> {
        check(frame)?;
        for body in pieces(&frame.body, room(frame.node.len(), frame.session.len())) {
            let piece = Frame {
                body,
                node: frame.node,
                session: frame.session,
            };
            self.counter += 1;
            let length = seal(
                &piece,
                (to, from),
                self.cluster,
                self.counter,
                key,
                &mut self.out,
            )
            .ok_or(Unsayable::Size)?;
            send(&self.out[..length]);
        }
        Ok(())
    }
}

/// What no frame can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsayable {
    /// A name too long, or none.
    #[error("{what} {name:?} has {} bytes; a frame takes 1 to {longest}", name.len())]
    Name {
        /// Whose.
        what: &'static str,
        /// The name.
        name: String,
        /// What a frame takes.
        longest: usize,
    },
    /// More acknowledgements than a beat takes.
    #[error("a beat that acknowledges {0} sessions; a frame takes 16: send more beats")]
    Acknowledgements(usize),
    /// It does not fit although everything in it is within its limits.
    #[error("a frame longer than its parts allow; please report this")]
    Size,
}

fn check(frame: &Frame<'_>) -> Result<(), Unsayable> {
    node(frame.node)?;
    session(frame.session)?;
    match &frame.body {
        Body::Beat(beat) => {
            if beat.heard.len() > LONGEST_LIST {
                return Err(Unsayable::Acknowledgements(beat.heard.len()));
            }
            let heard = beat.heard.iter().map(|heard| heard.session);
            heard
                .chain(beat.ended.iter().copied())
                .try_for_each(session)
        }
        Body::Suspect(items) | Body::Veto(items) => items.iter().try_for_each(|item| {
            node(item.node)?;
            session(item.session)
        }),
        Body::Fenced(fenced) => {
            node(fenced.node)?;
            session(fenced.session)?;
            node(fenced.by)
        }
        Body::Claims(_) | Body::Moves(_) | Body::Ceded(_) => Ok(()),
    }
}

fn node(name: &str) -> Result<(), Unsayable> {
    name_fits("node", name, LONGEST_NODE)
}

fn session(name: &str) -> Result<(), Unsayable> {
    name_fits("session", name, LONGEST_SESSION)
}

fn name_fits(what: &'static str, name: &str, longest: usize) -> Result<(), Unsayable> {
    if name.is_empty() || name.len() > longest {
        let name = name.to_owned();
        return Err(Unsayable::Name {
            what,
            name,
            longest,
        });
    }
    Ok(())
}
