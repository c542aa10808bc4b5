//! The conditions of the Gateway API, by type.

use landfall_crds::conditions::NewCondition;

pub(crate) const ACCEPTED: &str = "Accepted";
pub(crate) const PROGRAMMED: &str = "Programmed";
pub(crate) const RESOLVED_REFS: &str = "ResolvedRefs";
pub(crate) const CONFLICTED: &str = "Conflicted";
pub(crate) const SUPPORTED_VERSION: &str = "SupportedVersion";

/// A condition that says so.
pub(crate) fn is(type_: &'static str, reason: &str, message: impl Into<String>) -> NewCondition {
    says(type_, Some(true), reason, message)
}

/// A condition that says not so.
pub(crate) fn is_not(
    type_: &'static str,
    reason: &str,
    message: impl Into<String>,
) -> NewCondition {
    says(type_, Some(false), reason, message)
}

/// A condition that does not know yet.
pub(crate) fn unknown(
    type_: &'static str,
    reason: &str,
    message: impl Into<String>,
) -> NewCondition {
    says(type_, None, reason, message)
}

fn says(
    type_: &'static str,
    status: Option<bool>,
    reason: &str,
    message: impl Into<String>,
) -> NewCondition {
    NewCondition {
        type_,
        status,
        reason: reason.to_owned(),
        message: message.into(),
    }
}
