//! What the brain wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use landfall_crds::{L2AnnouncementPolicyStatus, L2NodeStatus, LoadBalancerIPStatus};
use landfall_election::peers;
use landfall_wire::Mac;

use super::peers::Heartbeats;
use crate::dataplane::DataPath;
use crate::election::Now;
use crate::link::IfIndex;
use crate::model::Published;
use crate::names::{NodeName, PolicyName, ServiceKey, SessionId, Version};

/// Everything to be put in force, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    pub owned: BTreeMap<IpAddr, BTreeSet<IfIndex>>,
    /// Of what it answers for from now on, when the silent nodes were last heard that did before.
    pub taken_over: Vec<Now>,
    /// Interfaces on which it may have to answer at any time.
    pub ready: BTreeSet<IfIndex>,
    /// What of it is announced anew: others were told something else.
    pub announce: BTreeSet<IpAddr>,
    /// What of it is announced again and again, and how often.
    pub periods: BTreeMap<IpAddr, Duration>,
    /// The end of its session, unless that is renewed.
    pub deadline: Option<Now>,
    /// Until when it may answer, as far as sessions and records go; renewed by every step.
    pub allowed: Now,
    /// Ethernet addresses of the other announcers.
    pub peers: BTreeSet<Mac>,
    /// What the heartbeats' thread shall know, if it changed.
    pub heartbeats: Option<Heartbeats>,
    /// What it shall learn.
    pub to_peers: Vec<peers::Event>,
    /// This session was ended by others: another is to begin at once.
    pub session_over: Option<SessionId>,
    /// Another machine goes on with these sessions by this node's name: does, or may.
    pub elsewhere: Vec<(SessionId, bool)>,
    /// What the session publishes; nothing before this node knows enough to say it.
    pub published: Option<Published>,
    /// Nodes whose renewals this one has to hear of.
    pub watched: BTreeSet<NodeName>,
    /// The data path, if it changed.
    pub data_path: Option<Arc<DataPath>>,
    /// Probes to make, and on which interfaces.
    pub probes: Vec<(IpAddr, BTreeSet<IfIndex>)>,
    pub jobs: Vec<Job>,
    pub notices: Vec<Notice>,
    /// When to think again.
    pub wake_at: Option<Now>,
    /// What this node owns it may not give away, and waiting would not help.
    pub in_vain: bool,
    /// This node owns nothing any more and may stop.
    pub has_left: bool,
}

impl Effects {
    /// Thinks again at this time, if not before.
    pub(super) fn wake_no_later(&mut self, at: Now) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at)));
    }
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Compare-and-swap the status of an address.
    Swap(Box<Swap>),
    /// End a silent session.
    Expire(Box<Expiry>),
    /// Read whether a session still holds its Lease.
    Inquire(NodeName, SessionId),
    /// Apply a condition to a Service, or take it away.
    Service(ServiceKey, Option<Box<Condition>>),
    /// Apply a policy's status.
    Policy(PolicyName, Box<L2AnnouncementPolicyStatus>),
    /// Apply the status of this node's own object, which goes with the Node of this uid.
    Node(Box<L2NodeStatus>, Option<String>),
    /// Say on it that another machine has this node's name, or take that away.
    Namesake(Option<Box<Condition>>),
}

/// The end of a silent session: its Lease is emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub node: NodeName,
    /// Only if the Lease still is at this version.
    pub version: Version,
    /// And its last renewal at this one, or there is none.
    pub renewal: Option<Version>,
}

/// A compare-and-swap.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    pub address: IpAddr,
    pub name: String,
    /// Only if it still is at this version.
    pub version: Version,
    /// The whole status.
    pub status: LoadBalancerIPStatus,
    /// A report: what comes of it is not the election's.
    pub report: bool,
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportKey {
    Address(IpAddr),
    Service(ServiceKey),
    Policy(PolicyName),
}

/// An Event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub subjects: Vec<Subject>,
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub note: String,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A LoadBalancerIP: name and uid.
    Address(String, String),
    /// A Service and its uid.
    Service(ServiceKey, String),
    /// An L2AnnouncementPolicy: name and uid.
    Policy(String, String),
}
