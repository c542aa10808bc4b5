//! Whether a process may begin a session over the one that its node's Lease names: not if that is another machine's of the
//! same name.
//!
//! ```text
//!  Lease names ─┬─ nobody, or one of its own ─────────────► begin
//!               └─ another ─┬─ heard, or this process ─────► wait until it is not renewed any more
//!                           │  had a session before
//!                           ├─ of this machine ──────────► begin: the process before it, which is dead
//!                           └─ not heard while listening ► begin: the same, or nobody can tell
//! ```
//!
//! Of one machine only one process runs at a time, which is for its caller to see to. So whoever takes a Lease from a process
//! that has a session is elsewhere, whether it is heard or not, and the two do not take it from each other without end.
//! For the same reason a session with which this machine's own interfaces are published was the process's before this one,
//! whatever is heard of it: somebody has recorded its frames and says them again.
//! Where heartbeats do not run, or many nodes hear few, the one that comes later may take it once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Now;
use crate::names::{SessionId, Version};

/// How long another of the same name is listened for: two windows, and what a report of it takes.
const LISTEN: Duration = Duration::from_millis(500);
/// Or for so many beats, where these come slowly: two of them are wanted.
const BEATS: u32 = 3;
/// How long one is listened for of which one beat came: that may be a copy, and where nodes are many each speaks to all once
/// a second.
const LISTEN_ON: Duration = Duration::from_secs(3);
/// Between two looks at a Lease that another has.
const LOOK: Duration = Duration::from_secs(1);
/// Own sessions remembered.
const REMEMBERED: usize = 64;
/// Sessions of others remembered that were heard: one would do, if nobody had recorded those of other machines before.
const FEW: usize = 8;

/// Sessions that go on elsewhere by this node's name, or may, the last few: another machine's; or this process's own, if one
/// with its memory goes on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere(VecDeque<(SessionId, bool)>);

impl Elsewhere {
    /// This one was heard; `lives`: and is no copy of what was said once.
    pub fn note(&mut self, session: SessionId, lives: bool) {
        let known = self.0.iter().position(|(known, _)| *known == session);
        let known = known.and_then(|at| self.0.remove(at));
        if self.0.len() >= FEW {
            let copy = self.0.iter().position(|(_, lives)| !lives);
            self.0.remove(copy.unwrap_or(0));
        }
        let lives = lives || known.is_some_and(|(_, lives)| lives);
        self.0.push_back((session, lives));
    }

    /// Whether this one lives, if it was heard.
    fn heard(&self, session: &SessionId) -> Option<bool> {
        let known = self.0.iter().find(|(known, _)| known == session);
        known.map(|(_, lives)| *lives)
    }
}

/// What a node's Lease says of who has it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// By whom.
    pub session: &'a SessionId,
    /// The version of its last renewal.
    pub renewal: Option<&'a Version>,
    /// How long it lives unrenewed.
    pub duration: Duration,
    /// What is published with it has the Ethernet addresses of this machine. One that was cloned with its addresses is not
    /// told from it.
    pub of_this_machine: bool,
}

/// What a process knows of another by its node's name.
#[derive(Clone, Debug)]
pub struct Namesake {
    listen: Duration,
    /// Sessions that this process began, or meant to.
    own: VecDeque<SessionId>,
    /// One of them was begun.
    has_begun: bool,
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
    /// It lives. Whatever else is heard meanwhile, that is not forgotten.
    is_heard: bool,
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
    /// A process that knows of nobody yet, where so much lies between two beats.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            listen: LISTEN.max(interval * BEATS),
            own: VecDeque::new(),
            has_begun: false,
            holder: None,
        }
    }

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

    /// Whether a session may begin now, of a Lease that is held so.
    ///
    /// # Errors
    /// How long not, and whether for another machine.
    pub fn may_begin(
        &mut self,
        held: Option<Held<'_>>,
        elsewhere: &Elsewhere,
        now: Now,
    ) -> Result<(), Wait> {
        let known = self.holder.take();
        let Some(held) = held else {
            return Ok(());
        };
        let known = known.filter(|known| known.session == *held.session);
        let is_own = self.own.contains(held.session);
        let heard = elsewhere.heard(held.session);
        let was_heard = known.as_ref().is_some_and(|known| known.is_heard);
        let lives = heard == Some(true) && (is_own || !held.of_this_machine);
        let is_heard = was_heard || lives;
        if !is_heard && (is_own || held.of_this_machine && !self.has_begun) {
            return Ok(());
        }
        let mut known = known.unwrap_or_else(|| Holder {
            session: held.session.clone(),
            first_seen: now,
            renewal: held.renewal.cloned(),
            renewed: now,
            is_heard,
        });
        known.is_heard = is_heard;
        if known.renewal.as_ref() != held.renewal {
            (known.renewal, known.renewed) = (held.renewal.cloned(), now);
        }
        let listen = match heard {
            None => self.listen,
            Some(_) => self.listen.max(LISTEN_ON),
        };
        let listened = known.first_seen + listen;
        let ends = known.renewed + held.duration;
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
            namesake: lives.then(|| held.session.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);
    const BEAT: Duration = Duration::from_millis(50);

    fn session(name: &str) -> SessionId {
        SessionId::new(name)
    }

    /// One that knows of nobody.
    fn alone() -> Namesake {
        Namesake::new(BEAT)
    }

    /// One that has begun this session.
    fn of(own: &str) -> Namesake {
        let mut namesake = alone();
        namesake.tries(session(own));
        namesake.has_begun();
        namesake
    }

    fn heard(name: &str) -> Elsewhere {
        let mut elsewhere = Elsewhere::default();
        elsewhere.note(session(name), true);
        elsewhere
    }

    /// When it begins, of a Lease that names `holder` and is renewed every five seconds for that long.
    fn begins(
        mut namesake: Namesake,
        elsewhere: &Elsewhere,
        (holder, of_this_machine): (&str, bool),
        renewed_for: u64,
    ) -> Now {
        let mut now = Duration::from_secs(100);
        for _ in 0..1_000 {
            let renewals = (now.as_secs() - 100).min(renewed_for) / 5;
            let held = Held {
                session: &session(holder),
                renewal: Some(&Version::new(renewals.to_string())),
                duration: DURATION,
                of_this_machine,
            };
            match namesake.may_begin(Some(held), elsewhere, now) {
                Ok(()) => return now - Duration::from_secs(100),
                Err(wait) => now = wait.until,
            }
        }
        panic!("it waits for ever");
    }

    #[test]
    fn the_lease_of_the_process_before_is_taken_once_nobody_was_heard() {
        let before = ("a1", false);
        let nobody = Elsewhere::default();
        assert_eq!(begins(alone(), &nobody, before, 0), LISTEN);
        assert_eq!(begins(alone(), &heard("z9"), before, 0), LISTEN, "another");
        let slow = Namesake::new(Duration::from_secs(1));
        let begun = begins(slow, &nobody, before, 0);
        assert_eq!(begun, Duration::from_secs(3), "two beats are wanted");
    }

    #[test]
    fn whatever_is_heard_of_the_process_before_on_this_machine_was_recorded() {
        let before = ("a1", true);
        assert_eq!(begins(alone(), &heard("a1"), before, 0), Duration::ZERO);
    }

    #[test]
    fn one_of_which_one_beat_came_is_listened_for_longer() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.note(session("a1"), false);
        let before = ("a1", false);
        assert_eq!(begins(alone(), &elsewhere, before, 0), LISTEN_ON);
        elsewhere.note(session("a1"), true);
        assert_eq!(begins(alone(), &elsewhere, before, 0), DURATION);
        elsewhere.note(session("a1"), false);
        assert_eq!(begins(alone(), &elsewhere, before, 0), DURATION);
    }

    #[test]
    fn one_that_is_waited_for_is_not_forgotten_for_what_is_said_again_of_others() {
        let mut namesake = alone();
        let version = Version::new("1");
        let mut waits = |elsewhere: &Elsewhere, seconds| {
            let held = Held {
                session: &session("a1"),
                renewal: Some(&version),
                duration: DURATION,
                of_this_machine: false,
            };
            let now = Duration::from_secs(seconds);
            namesake.may_begin(Some(held), elsewhere, now).is_err()
        };
        let mut elsewhere = heard("a1");
        assert!(waits(&elsewhere, 100));
        (0..100).for_each(|life| elsewhere.note(session(&format!("z{life}")), true));
        assert!(waits(&elsewhere, 110));
        assert!(!waits(&elsewhere, 116));
    }

    #[test]
    fn what_a_process_may_have_written_itself_it_takes_at_once() {
        let own = ("a1", true);
        let nobody = Elsewhere::default();
        assert_eq!(begins(of("a1"), &nobody, own, 60), Duration::ZERO);
        let of_a_copy = begins(of("a1"), &heard("a1"), own, 0);
        assert_eq!(of_a_copy, DURATION, "its memory runs elsewhere");
    }

    #[test]
    fn a_namesake_that_is_heard_keeps_its_lease_for_as_long_as_it_renews_it() {
        let begins = begins(alone(), &heard("a1"), ("a1", false), 60);
        assert!(begins >= Duration::from_secs(60) + DURATION, "{begins:?}");
        assert!(begins <= Duration::from_secs(62) + DURATION, "{begins:?}");
    }

    #[test]
    fn a_namesake_is_not_forgotten_for_a_few_others_that_are_heard_as_well() {
        let mut elsewhere = Elsewhere::default();
        for name in ["z1", "a1", "z1", "z2", "z3", "a1"] {
            elsewhere.note(session(name), true);
        }
        let begins = begins(alone(), &elsewhere, ("a1", false), 0);
        assert_eq!(begins, DURATION);
        (0..100).for_each(|life| elsewhere.note(session(&format!("z{life}")), true));
        assert_eq!(elsewhere.0.len(), FEW);
    }

    #[test]
    fn whoever_had_a_session_does_not_take_its_lease_back_from_one_that_is_not_heard() {
        for of_this_machine in [false, true] {
            let others = ("b1", of_this_machine);
            let begins = begins(of("a1"), &Elsewhere::default(), others, 30);
            assert!(begins >= Duration::from_secs(30) + DURATION);
        }
        let nobody = of("a1").may_begin(None, &Elsewhere::default(), Duration::from_secs(500));
        assert_eq!(nobody, Ok(()), "it was fenced, or given up");
    }
}
