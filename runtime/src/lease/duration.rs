//! The rule for how long a Lease may stay unrenewed.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A duration that a Lease cannot say, or that nobody would wait for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {given:?}: give whole seconds, from {}s to {}s", .range.start().as_secs(), .range.end().as_secs())]
pub struct DurationError {
    flag: &'static str,
    given: Duration,
    range: RangeInclusive<Duration>,
}

/// Checks the duration that `flag` gave. A Lease counts whole seconds: others would wait for less,
/// or more, than its holder goes by.
///
/// # Errors
/// When it is not a whole number of seconds within `range`.
pub fn whole_seconds(
    flag: &'static str,
    given: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, DurationError> {
    if given.subsec_nanos() == 0 && range.contains(&given) {
        Ok(given)
    } else {
        Err(DurationError { flag, given, range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(milliseconds: u64) -> Result<Duration, DurationError> {
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        whole_seconds(
            "--lease-duration",
            Duration::from_millis(milliseconds),
            range,
        )
    }

    #[test]
    fn whole_seconds_within_the_range_are_taken() {
        for seconds in [1, 15, 60] {
            assert_eq!(given(seconds * 1000), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn parts_of_a_second_and_what_is_out_of_range_are_refused_with_what_would_do() {
        for milliseconds in [0, 999, 1500, 61_000] {
            let said = given(milliseconds).unwrap_err().to_string();
            assert!(said.starts_with("--lease-duration "), "{said}");
            assert!(
                said.ends_with("give whole seconds, from 1s to 60s"),
                "{said}"
            );
        }
    }
}
