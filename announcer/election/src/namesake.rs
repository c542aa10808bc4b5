//! Whether a process may begin a session over the one that its node's Lease names: not if that is another machine's of the
//! same name.
//!
//! ```text
//!  Lease names ─┬─ nobody, or one of its own ─────────────► begin
//!               └─ another ─┬─ heard, or this process ─────► wait until it is not renewed any more
//!                           │  had a session before
//!                           └─ not heard for two windows ──► begin: the process before it, which is dead
//! ```
//!
//! Of one machine only one process runs at a time, which is for its caller to see to. So whoever takes a Lease from a process
//! that has a session is elsewhere, whether it is heard or not, and the two do not take it from each other without end.
//! Where heartbeats do not run, or many nodes hear few, the one that comes later may take it once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Now;
use crate::names::{SessionId, Version};

/// How long another of the same name is listened for: two windows, and what a report of it takes.
const LISTEN: Duration = Duration::from_millis(500);
/// Between two looks at a Lease that another has.
const LOOK: Duration = Duration::from_secs(1);
/// Own sessions remembered.
const REMEMBERED: usize = 64;

/// What a process knows of another by its node's name.
#[derive(Clone, Debug, Default)]
pub struct Namesake {
    /// Sessions that this process began, or meant to.
    own: VecDeque<SessionId>,
    /// One of them was begun.
    has_begun: bool,
    heard: Option<SessionId>,
    /// Who had the Lease when it was looked at.
    holder: Option<Holder>,
}

#[derive(Clone, Debug)]
struct Holder {
    session: SessionId,
    first_seen: Now,
    renewal: Option<Version>,
    /// Since when that is its last renewal.
    renewed: Now,
}

/// Why a session may not begin yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to look again.
    pub until: Now,
    /// The session of another machine of the same name; none while it is only listened for.
    pub namesake: Option<SessionId>,
}

impl Namesake {
    /// The process means to begin this session: whether it was written is not always known.
    pub fn tries(&mut self, session: SessionId) {
        if self.own.len() >= REMEMBERED {
            self.own.pop_front();
        }
        self.own.push_back(session);
    }

    /// It has.
    pub fn has_begun(&mut self) {
        self.has_begun = true;
        self.holder = None;
    }

    /// Another machine was heard that speaks for this session by this node's name; or with this node's memory, if the
    /// session was its own.
    pub fn heard(&mut self, session: SessionId) {
        self.heard = Some(session);
    }

    /// Whether a session may begin now, where the Lease names `holder`, whose last renewal is of that version.
    ///
    /// # Errors
    /// How long not, and whether for another machine.
    pub fn may_begin(
        &mut self,
        holder: Option<&SessionId>,
        renewal: Option<&Version>,
        duration: Duration,
        now: Now,
    ) -> Result<(), Wait> {
        let is_heard = holder.is_some() && holder == self.heard.as_ref();
        let Some(session) = holder.filter(|holder| is_heard || !self.own.contains(holder)) else {
            self.holder = None;
            return Ok(());
        };
        let known = self.holder.take().filter(|known| known.session == *session);
        let mut known = known.unwrap_or_else(|| Holder {
            session: session.clone(),
            first_seen: now,
            renewal: renewal.cloned(),
            renewed: now,
        });
        if known.renewal.as_ref() != renewal {
            (known.renewal, known.renewed) = (renewal.cloned(), now);
        }
        let listened = known.first_seen + LISTEN;
        let ends = known.renewed + duration;
        self.holder = Some(known);
        let lives = is_heard || self.has_begun;
        let (ends, until) = match lives {
            true => (ends, ends.min(now + LOOK)),
            false => (listened, listened),
        };
        if now >= ends {
            return Ok(());
        }
        Err(Wait {
            until,
            namesake: holder.filter(|_| lives).cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn session(name: &str) -> SessionId {
        SessionId::new(name)
    }

    /// When it begins, of a Lease that names `holder` and is renewed every five seconds for that long.
    fn begins(namesake: &mut Namesake, holder: &str, renewed_for: u64) -> Now {
        let mut now = Duration::from_secs(100);
        for _ in 0..1_000 {
            let renewals = (now.as_secs() - 100).min(renewed_for) / 5;
            let renewal = Version::new(renewals.to_string());
            match namesake.may_begin(Some(&session(holder)), Some(&renewal), DURATION, now) {
                Ok(()) => return now - Duration::from_secs(100),
                Err(wait) => now = wait.until,
            }
        }
        panic!("it waits for ever");
    }

    #[test]
    fn the_lease_of_the_process_before_is_taken_once_nobody_was_heard() {
        assert_eq!(begins(&mut Namesake::default(), "a1", 0), LISTEN);
        let mut namesake = Namesake::default();
        namesake.heard(session("z9"));
        assert_eq!(begins(&mut namesake, "a1", 0), LISTEN, "of long ago");
    }

    #[test]
    fn what_a_process_may_have_written_itself_it_takes_at_once() {
        let mut namesake = Namesake::default();
        namesake.has_begun();
        namesake.tries(session("a1"));
        assert_eq!(begins(&mut namesake, "a1", 60), Duration::ZERO);
        namesake.heard(session("a1"));
        let of_a_copy = begins(&mut namesake, "a1", 0);
        assert_eq!(of_a_copy, DURATION, "its memory runs elsewhere");
    }

    #[test]
    fn a_namesake_that_is_heard_keeps_its_lease_for_as_long_as_it_renews_it() {
        let mut namesake = Namesake::default();
        namesake.heard(session("a1"));
        let begins = begins(&mut namesake, "a1", 60);
        assert!(begins >= Duration::from_secs(60) + DURATION, "{begins:?}");
        assert!(begins <= Duration::from_secs(62) + DURATION, "{begins:?}");
    }

    #[test]
    fn whoever_had_a_session_does_not_take_its_lease_back_from_one_that_is_not_heard() {
        let mut namesake = Namesake::default();
        namesake.tries(session("a1"));
        namesake.has_begun();
        assert!(begins(&mut namesake, "b1", 30) >= Duration::from_secs(30) + DURATION);
        let nobody = namesake.may_begin(None, None, DURATION, Duration::from_secs(500));
        assert_eq!(nobody, Ok(()), "it was fenced, or given up");
    }
}
