//! A status that somebody else keeps undoing: written again ever more seldom, and told of once.
//!
//! What is said is compared with what was said last, not with what stands there: a word of ours that
//! somebody else wiped away is no news. Pure: the clock is the caller's.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use landfall_ipam::HolderKind;
use landfall_ipam::plan::Outcome;
use landfall_runtime::events::Note;

/// The longest one.
const LONGEST: Duration = Duration::from_secs(300);
/// After so long without another word, what was said is not said again but anew.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// What a status said of a Service when it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of this very Service.
    uid: String,
    outcome: Outcome,
    addresses: Vec<IpAddr>,
    at: Instant,
    /// How often it had to be written again.
    repeats: u32,
    /// The Event about it is written.
    told: bool,
}

impl Said {
    /// Whether the words are the same, of the same Service.
    #[must_use]
    pub fn is(&self, uid: &str, outcome: &Outcome, addresses: &[IpAddr]) -> bool {
        self.uid == uid && self.outcome == *outcome && self.addresses == addresses
    }

    /// Whether the Event of these words would be the same.
    #[must_use]
    pub fn means(&self, uid: &str, outcome: &Outcome, addresses: &[IpAddr]) -> bool {
        self.uid == uid
            && self.outcome.reason == outcome.reason
            && self.outcome.assigned == outcome.assigned
            && self.addresses == addresses
    }

    /// How long to wait before the same is written once more; `first`: before its third time.
    #[must_use]
    pub fn pause(&self, first: Duration, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.at);
        let doubled = first.saturating_mul(1 << self.repeats.saturating_sub(1).min(16));
        let pause = match self.repeats {
            0 => Duration::ZERO,
            _ => doubled.min(LONGEST),
        };
        pause.checked_sub(since).filter(|rest| !rest.is_zero())
    }

    /// These words are written now, after those said before.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        uid: &str,
        outcome: &Outcome,
        addresses: &[IpAddr],
        now: Instant,
    ) -> Self {
        let before = before.filter(|before| {
            before.is(uid, outcome, addresses)
                && now.saturating_duration_since(before.at) < FORGOTTEN
        });
        Self {
            uid: uid.to_owned(),
            outcome: outcome.clone(),
            addresses: addresses.to_vec(),
            at: now,
            repeats: before.map_or(0, |before| before.repeats.saturating_add(1)),
            told: before.is_some_and(|before| before.told),
        }
    }

    /// The one Event about a writer in the way, from the second time on that the same had to be
    /// written again.
    pub fn tell(&mut self, kind: HolderKind, manager: Option<&str>) -> Option<Note> {
        if self.told || self.repeats < 2 {
            return None;
        }
        self.told = true;
        let who = manager.map_or_else(
            || "somebody else".to_owned(),
            |manager| format!("field manager {}", landfall_crds::text::quoted(manager)),
        );
        Some(Note {
            warning: true,
            reason: "StatusContested".to_owned(),
            action: "AssignAddress",
            note: format!(
                "{who} keeps changing {}; what Landfall says is written again ever more seldom. \
                 Stop the other writer, or give the {kind} a {} that only one of the two serves",
                match kind {
                    HolderKind::Service => "status.loadBalancer or the conditions of this Service",
                    HolderKind::Gateway => "the status of this Gateway",
                },
                match kind {
                    HolderKind::Service => "spec.loadBalancerClass",
                    HolderKind::Gateway => "spec.gatewayClassName",
                }
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use landfall_ipam::Reason;

    use super::*;

    fn outcome(message: &str) -> Outcome {
        Outcome {
            assigned: true,
            reason: Reason::Assigned,
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_same_status_is_written_again_at_once_once_and_then_ever_more_seldom() {
        let mut now = Instant::now();
        let mut said = Said::after(None, "u", &outcome("a"), &[], now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pause = said.pause(Duration::from_secs(1), now).unwrap_or_default();
            pauses.push(pause.as_secs());
            now += pause;
            said = Said::after(Some(&said), "u", &outcome("a"), &[], now);
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn other_words_or_another_service_are_no_repetition() {
        let now = Instant::now();
        let said = Said::after(None, "u", &outcome("a"), &[], now);
        let again = Said::after(Some(&said), "u", &outcome("a"), &[], now);
        assert_eq!(again.repeats, 1);
        for (uid, message) in [("v", "a"), ("u", "b")] {
            let other = Said::after(Some(&again), uid, &outcome(message), &[], now);
            assert_eq!(other.repeats, 0);
        }
        let later = Said::after(Some(&again), "u", &outcome("a"), &[], now + FORGOTTEN);
        assert_eq!(later.repeats, 0);
    }

    #[test]
    fn the_writer_in_the_way_is_named_once() {
        let now = Instant::now();
        let mut said = Said::after(None, "u", &outcome("a"), &[], now);
        let mut told = Vec::new();
        for _ in 0..5 {
            said = Said::after(Some(&said), "u", &outcome("a"), &[], now);
            told.extend(said.tell(HolderKind::Service, Some("metallb-controller")));
        }
        assert_eq!(told.len(), 1);
        let words = "field manager \"metallb-controller\" keeps changing";
        assert!(told[0].note.starts_with(words), "{}", told[0].note);
    }
}
