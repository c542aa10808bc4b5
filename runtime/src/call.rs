//! Calls of the API server that end: with an answer, with an error, or when patience does.

use std::future::Future;
use std::time::Duration;

use crate::class::Class;

/// Why a call has no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server said no, or could not be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It said nothing. Whether the call took effect is unknown.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl Failure {
    /// What the failure means for the one who made the call.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Api(error) => Class::of(error),
            Self::TimedOut(_) => Class::Transient,
        }
    }
}

/// Waits for the answer to `request`, but not longer than `patience`: one that hangs must not eat
/// the time of the next.
///
/// # Errors
/// The API server's, or that there was no answer in time.
pub async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::TimedOut(patience)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_with_patience_and_may_be_tried_again() {
        let began = tokio::time::Instant::now();
        let hangs = within::<()>(PATIENCE, std::future::pending()).await;
        let failure = hangs.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(failure.class(), Class::Transient);
        assert_eq!(failure.to_string(), "no answer within 4s");
    }

    #[tokio::test]
    async fn an_answer_in_time_is_passed_on_as_it_is() {
        let fine = within(PATIENCE, std::future::ready(Ok(7))).await;
        assert_eq!(fine.unwrap(), 7);
    }
}
