//! What an error of the API server means for the one who made the call.

use std::time::Duration;

/// Classes of errors, by what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The object is not there (404).
    NotFound,
    /// Somebody else was quicker (409): look again at once.
    Conflict,
    /// Not permitted (401, 403): a person must act.
    Forbidden,
    /// The API server refuses the object itself (400, 422).
    Refused,
    /// Anything that may pass: 5xx, 429, time-outs, connections.
    Transient,
}

impl Class {
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Transient;
        };
        match status.code {
            404 => Self::NotFound,
            409 => Self::Conflict,
            401 | 403 => Self::Forbidden,
            400 | 422 => Self::Refused,
            _ => Self::Transient,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Transient => "transient",
        }
    }

    /// How long to wait before attempt `attempt` (1 for the first repetition). `spread` in 0..=1
    /// keeps many from coming back together.
    #[must_use]
    pub fn retry_after(self, attempt: u32, spread: f64) -> Duration {
        let spread = spread.clamp(0.0, 1.0);
        match self {
            Self::Conflict | Self::NotFound => Duration::from_millis(250).mul_f64(spread),
            Self::Forbidden | Self::Refused => Duration::from_secs(300),
            Self::Transient => {
                let seconds = 1_u64 << attempt.saturating_sub(1).min(6);
                Duration::from_secs(seconds.min(60)).mul_f64(0.8 + 0.4 * spread)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transient_error_is_tried_again_later_and_later_but_within_72_seconds() {
        let waits: Vec<_> = (1..=9)
            .map(|n| Class::Transient.retry_after(n, 0.5).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(Class::Transient.retry_after(u32::MAX, 1.0) <= Duration::from_secs(72));
    }

    #[test]
    fn a_conflict_is_tried_again_within_a_quarter_second() {
        assert!(Class::Conflict.retry_after(1, 1.0) <= Duration::from_millis(250));
    }
}
