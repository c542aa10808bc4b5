//! How a watch comes back: sooner than clients usually do, because takeovers wait for it.

use std::time::Duration;

use kube::runtime::utils::Backoff;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from 200 ms to 5 s; begins anew after a success.
#[derive(Debug)]
pub(super) struct Short {
    next: Duration,
}

impl Default for Short {
    fn default() -> Self {
        Self { next: SHORTEST }
    }
}

impl Iterator for Short {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        Some(pause)
    }
}

impl Backoff for Short {
    fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_begin_anew() {
        let mut short = Short::default();
        let pauses: Vec<_> = short.by_ref().take(7).map(|p| p.as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
        short.reset();
        assert_eq!(short.next(), Some(SHORTEST));
    }
}
