//! What is written about announcing: conditions of addresses, Services and policies.
//!
//! Pure: it says what each object should read; whoever calls it writes only what differs. The invariant is one writer
//! for every condition at a time: of an address or a Service the owner, of what nobody owns and of policies the
//! *reporter*, the first by name of the live nodes.

mod address;
mod node;
mod policy;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use landfall_crds::{L2AnnouncementPolicyStatus, LoadBalancerIPStatus};
use landfall_wire::Mac;

pub use address::status_of;
pub use node::{OwnNode, node_status};

use crate::dataplane::{LeftToKernel, RunsOn};
use crate::model::World;
use crate::names::{NodeName, PolicyName, ServiceKey, SessionId};
use crate::policy::Announcements;

/// Everything a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub world: &'a World,
    /// What is announced, and why the rest is not.
    pub plan: &'a Announcements,
    /// The interfaces that this node's director runs on.
    pub runs_on: &'a BTreeMap<String, RunsOn>,
    pub me: &'a NodeName,
    pub session: Option<&'a SessionId>,
    /// Nodes with a live session.
    pub live: &'a BTreeSet<NodeName>,
    /// Foreign hosts found at our addresses: their Ethernet addresses.
    pub conflicts: &'a BTreeMap<IpAddr, Conflict>,
    /// What this node's director was to serve and leaves to the kernel.
    pub refused: &'a LeftToKernel,
    /// For `lastTransitionTime` of what changes.
    pub now: &'a Time,
}

/// A foreign host at an address.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflict {
    pub mac: Mac,
    /// The interface it was seen on.
    pub interface: String,
    /// Seen by the probe before a first claim: the address is not announced at all.
    pub at_probe: bool,
}

/// An object that should read otherwise than it does.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// An address: its whole status, to be swapped against the version in the world.
    Address(IpAddr, Box<LoadBalancerIPStatus>),
    /// A Service: this condition of it, or none any more.
    Service(ServiceKey, Option<Box<Condition>>),
    /// A policy: its whole status.
    Policy(PolicyName, Box<L2AnnouncementPolicyStatus>),
}

/// What should be written now by this node.
#[must_use]
pub fn reports(view: View<'_>) -> Vec<Report> {
    let mut reports = address::reports(view);
    reports.extend(service::reports(view));
    reports.extend(policy::reports(view));
    reports
}

impl View<'_> {
    fn is_reporter(&self) -> bool {
        self.live.first() == Some(self.me)
    }
}

/// Whether two conditions say the same, whenever they began to.
fn says_the_same(a: &Condition, b: &Condition) -> bool {
    a.status == b.status && a.reason == b.reason && a.message == b.message
}

/// Puts a condition in the place of the one of its type. False when it says nothing new.
fn put(conditions: &mut Vec<Condition>, condition: Condition) -> bool {
    match conditions
        .iter_mut()
        .find(|known| known.type_ == condition.type_)
    {
        Some(known) if says_the_same(known, &condition) => false,
        Some(known) => {
            *known = condition;
            true
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}
