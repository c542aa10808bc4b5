//! Why a step of a Service could not be finished now.

use landfall_runtime::call::Failure;
use landfall_runtime::class::Class;

/// Why a step could not be finished now.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Somebody else was quicker; the index knows by now, so plan again.
    #[error("the record of {0} was changed by somebody else")]
    Overtaken(String),
    /// The API server said no, or nothing.
    #[error("{operation} {object}: {source}")]
    Api {
        operation: &'static str,
        object: String,
        source: Failure,
    },
}

impl StepError {
    pub(super) fn api(
        operation: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(Failure) -> Self {
        let object = object.into();
        move |source| Self::Api {
            operation,
            object,
            source,
        }
    }

    /// Its class, which decides when to come back.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Overtaken(_) => Class::Conflict,
            Self::Api { source, .. } => source.class(),
        }
    }
}
