//! How a watch comes back.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(10);
/// A watch that has been well for so long begins anew.
const WELL: Duration = Duration::from_secs(10);

/// Doubles from 800 ms to 10 s. A list that begins is no success yet, though the client says so of it: one that is refused
/// every time would be asked for every 800 ms for ever.
#[derive(Debug, Default)]
pub(super) struct Growing {
    before: Option<(Instant, Duration)>,
}

impl Iterator for Growing {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let pause = match self.before {
            Some((at, pause)) if now.duration_since(at) < pause + WELL => (pause * 2).min(LONGEST),
            _ => SHORTEST,
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
    async fn pauses_grow_to_ten_seconds_whenever_a_list_begins_and_begin_anew_after_one_that_was_well()
     {
        let mut growing = Growing::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = growing.next().unwrap();
            pauses.push(pause.as_millis());
            tokio::time::advance(pause).await;
            growing.reset();
        }
        assert_eq!(pauses, [800, 1600, 3200, 6400, 10_000, 10_000]);
        tokio::time::advance(WELL + LONGEST).await;
        assert_eq!(growing.next(), Some(SHORTEST));
    }
}
