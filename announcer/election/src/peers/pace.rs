//! How often a node beats: as often as was asked for, or as is affordable.

use std::time::Duration;

use super::Peers;
use super::segment::{SPARE, Segment};

/// Discoveries a node hears a second at most.
const DISCOVERIES: usize = 50;

impl Peers {
    /// Between two beats now: as long as was asked for, or longer where what is sent or heard would be more than is
    /// affordable.
    pub fn interval(&self) -> Duration {
        let segments = self.segments.values();
        let watches: usize = segments.map(|segment| self.watches(segment)).sum();
        let discoveries = self.crowd().min(DISCOVERIES);
        let affordable = self.settings.frames.saturating_sub(discoveries).max(1);
        let millis = (watches * 1_000).div_ceil(affordable);
        let least = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        self.settings.interval.max(least)
    }

    /// As many as there are; where not everybody watches everybody, as many as there may be: who has fewer today must not
    /// beat more often than one who has them all can hear.
    fn watches(&self, segment: &Segment) -> usize {
        let watches = segment.targets.len();
        if segment.is_small(&self.settings, self.known.len()) {
            watches
        } else {
            watches.max(SPARE)
        }
    }

    /// Those who are found by discovery, on all segments together.
    pub(super) fn crowd(&self) -> usize {
        let known = self.known.len();
        let crowded = self
            .segments
            .values()
            .filter(|segment| !segment.is_small(&self.settings, known));
        crowded.map(|segment| segment.links.len().max(known)).sum()
    }

    pub(super) fn window(&self) -> Duration {
        self.lateness
            .window(self.interval(), self.settings.longest_window)
    }
}

/// Between two discoveries of so many.
pub(super) fn discovery(crowd: usize) -> Duration {
    let second = Duration::from_secs(1);
    (second * u32::try_from(crowd.div_ceil(DISCOVERIES)).unwrap_or(u32::MAX)).max(second)
}
