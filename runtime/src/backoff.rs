//! How a watch comes back.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

/// A watch that has been well for so long begins anew: longer than a list takes to fail.
const WELL: Duration = Duration::from_secs(60);

/// Doubles from the shortest to the longest pause. A list that begins is no success yet, though the client says so of it: one
/// that is refused every time would be asked for after the shortest pause for ever.
#[derive(Debug)]
pub struct Growing {
    shortest: Duration,
    longest: Duration,
    before: Option<(Instant, Duration)>,
}

impl Growing {
    /// Pauses between these.
    #[must_use]
    pub const fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            before: None,
        }
    }
}

impl Iterator for Growing {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let pause = match self.before {
            Some((at, pause)) if now.duration_since(at) < pause + WELL => {
                (pause * 2).min(self.longest)
            }
            _ => self.shortest,
        };
        self.before = Some((now, pause));
        Some(pause)
    }
}

impl Backoff for Growing {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_whenever_a_list_begins_and_begin_anew_after_one_that_was_well() {
        let [shortest, longest] = [800, 10_000].map(Duration::from_millis);
        let mut growing = Growing::between(shortest, longest);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = growing.next().unwrap();
            pauses.push(pause.as_millis());
            tokio::time::advance(pause).await;
            growing.reset();
        }
        assert_eq!(pauses, [800, 1600, 3200, 6400, 10_000, 10_000]);
        tokio::time::advance(WELL + longest).await;
        assert_eq!(growing.next(), Some(shortest));
    }
}
