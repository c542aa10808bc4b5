//! Condition types and reasons, and the one way a condition is made.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text::{MAX_MESSAGE, line};

/// On a Service: whether it has its addresses. Written by the controller.
pub const ADDRESS_ASSIGNED: &str = "landfall.dev/AddressAssigned";
/// On a Service: whether its addresses are announced. Written by the owner's announcer.
pub const SERVICE_ANNOUNCED: &str = "landfall.dev/Announced";

/// On a pool or a policy: whether its spec is usable.
pub const ACCEPTED: &str = "Accepted";
/// On a pool: whether other pools contain the same addresses.
pub const OVERLAP: &str = "Overlap";
/// On a pool: whether an address family has run out.
pub const EXHAUSTED: &str = "Exhausted";

/// On a LoadBalancerIP: whether its owner answers for it.
pub const ANNOUNCED: &str = "Announced";
/// On a LoadBalancerIP that a Service and a Gateway share: whether the Gateway is served, too.
pub const GATEWAYS_SERVED: &str = "GatewaysServed";
/// On a LoadBalancerIP: whether a foreign host uses the address.
pub const ADDRESS_CONFLICT: &str = "AddressConflict";
/// On a LoadBalancerIP: whether its pool no longer covers it, or no longer admits its holder.
pub const OUT_OF_POOL: &str = "OutOfPool";

/// On a policy that forwards by XDP: whether the director runs on every node that has it to.
pub const DIRECTOR_READY: &str = "DirectorReady";

/// On an L2Node: whether another machine has its name. Written by the announcer that waits for that one.
pub const NODE_NAME_CONFLICT: &str = "NodeNameConflict";

/// Every condition: on which kind, its type, and what `True` says.
pub const ALL: [(&str, &str, &str); 12] = [
    (
        "Service",
        ADDRESS_ASSIGNED,
        "it has its addresses; otherwise the reason is one of those below",
    ),
    (
        "Service",
        SERVICE_ANNOUNCED,
        "a node answers for each of its addresses; otherwise the message says for which not, and why",
    ),
    (
        "LoadBalancerIPPool",
        ACCEPTED,
        "its blocks can be read; otherwise the message names the block",
    ),
    (
        "LoadBalancerIPPool",
        OVERLAP,
        "other pools, a ServiceCIDR or a node's Pods have some of its addresses; the message names them",
    ),
    (
        "LoadBalancerIPPool",
        EXHAUSTED,
        "a family has no address left to give",
    ),
    (
        "LoadBalancerIP",
        ANNOUNCED,
        "its owner answers for it, and on which interfaces",
    ),
    (
        "LoadBalancerIP",
        GATEWAYS_SERVED,
        "the Gateways that share it with Services are served, too; there wherever they share it",
    ),
    (
        "LoadBalancerIP",
        ADDRESS_CONFLICT,
        "a foreign host uses it; the message has its Ethernet address",
    ),
    (
        "LoadBalancerIP",
        OUT_OF_POOL,
        "its pool no longer covers it, or would no longer give it to its holder",
    ),
    (
        "L2AnnouncementPolicy",
        ACCEPTED,
        "all of it is in force; otherwise the message names what is not",
    ),
    (
        "L2AnnouncementPolicy",
        DIRECTOR_READY,
        "no node reports that its XDP director cannot run; only with `loadBalancing: XDP`",
    ),
    (
        "L2Node",
        NODE_NAME_CONFLICT,
        "another machine runs an announcer by the name of this node, and answers for nothing; there while it waits",
    ),
];

/// Why a Service has, or has not, its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssignedReason {
    /// Every wanted family has an address.
    Assigned,
    /// No pool admits this Service.
    NoMatchingPool,
    /// Every admitting pool is full.
    PoolExhausted,
    /// The requested address has another holder.
    AddressInUse,
    /// The requested address lies in no pool.
    NotInAnyPool,
    /// The holder of the requested address does not share it.
    SharingRefused,
    /// The request cannot be read, or contradicts itself.
    InvalidRequest,
    /// No pool has addresses of a required family.
    FamilyUnavailable,
}

impl AssignedReason {
    /// Every reason, in documentation order.
    pub const ALL: [Self; 8] = [
        Self::Assigned,
        Self::NoMatchingPool,
        Self::PoolExhausted,
        Self::AddressInUse,
        Self::NotInAnyPool,
        Self::SharingRefused,
        Self::InvalidRequest,
        Self::FamilyUnavailable,
    ];

    /// As written to the API and to metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "Assigned",
            Self::NoMatchingPool => "NoMatchingPool",
            Self::PoolExhausted => "PoolExhausted",
            Self::AddressInUse => "AddressInUse",
            Self::NotInAnyPool => "NotInAnyPool",
            Self::SharingRefused => "SharingRefused",
            Self::InvalidRequest => "InvalidRequest",
            Self::FamilyUnavailable => "FamilyUnavailable",
        }
    }
}

/// What a condition shall say; the time of its last transition follows from what it said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// The condition's type.
    pub type_: &'static str,
    /// `True`, `False`; `None` is `Unknown`.
    pub status: Option<bool>,
    /// One CamelCase word.
    pub reason: String,
    /// One sentence a person can act on.
    pub message: String,
}

impl NewCondition {
    /// The condition to write: `lastTransitionTime` is kept while the status is what it was in
    /// `before`, otherwise it is `now`. The message is one printable line of bounded length,
    /// whatever it was made of.
    #[must_use]
    pub fn condition(self, before: &[Condition], generation: Option<i64>, now: Time) -> Condition {
        let status = match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let since = before
            .iter()
            .find(|c| c.type_ == self.type_ && c.status == status)
            .map_or(now, |c| c.last_transition_time.clone());
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason,
            message: line(self.message, MAX_MESSAGE),
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

/// The condition of this type, if it is there.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn says(status: bool, message: &str) -> NewCondition {
        NewCondition {
            type_: ACCEPTED,
            status: Some(status),
            reason: "Because".into(),
            message: message.into(),
        }
    }

    #[test]
    fn the_transition_time_is_kept_while_the_status_is_equal() {
        let first = says(true, "one").condition(&[], Some(1), at(10));
        let second = says(true, "two").condition(std::slice::from_ref(&first), Some(2), at(20));
        assert_eq!(second.last_transition_time, at(10));
        let third = says(false, "three").condition(&[second], Some(3), at(30));
        assert_eq!(third.last_transition_time, at(30));
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length_whatever_it_was_made_of() {
        let hostile = format!("pool \"x\"\n\u{1b}[31m{}", "a".repeat(10_000));
        let written = says(true, &hostile).condition(&[], None, at(1)).message;
        assert!(written.starts_with(r#"pool "x"\n\u{1b}[31ma"#), "{written}");
        assert_eq!(written.len(), MAX_MESSAGE);
    }
}
