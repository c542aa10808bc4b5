//! Whether all is well, on one screen.
//!
//! [`judge`] reads the picture, [`draw`] writes it down. What is wrong decides how the command ends; what people should
//! only know does not.

mod draw;
mod judge;
#[cfg(test)]
mod tests;
mod workloads;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use draw::draw;
pub(crate) use judge::judge;
pub(crate) use workloads::tag;

use crate::out::End;
use crate::pools::Pool;

/// The whole screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Nothing is wrong, and enough was seen to say so.
    pub(crate) well: bool,
    /// Whoever decides has had a look at every pool, policy and new Service.
    pub(crate) settled: bool,
    pub(crate) workloads: Vec<Workload>,
    /// The replica of the controller that is active.
    pub(crate) leader: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) addresses: Addresses,
    /// What is not as it should be, and what would help.
    pub(crate) wrong: Vec<String>,
    /// What could not be seen without which nobody can say that all is well.
    pub(crate) unseen: Vec<String>,
    /// What people should know.
    pub(crate) notes: Vec<String>,
}

impl Status {
    pub(crate) fn end(&self) -> End {
        match (self.wrong.is_empty(), self.unseen.is_empty()) {
            (false, _) => End::NotWell,
            (true, false) => End::Unknown,
            (true, true) => End::Well,
        }
    }

    /// The same for who waits until all that is new was looked at.
    pub(crate) fn end_of_waiting(&self) -> End {
        match self.end() {
            End::Well if !self.settled => End::Unknown,
            end => end,
        }
    }
}

/// A Deployment or DaemonSet of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) ready: i32,
    pub(crate) wanted: i32,
    pub(crate) image: String,
}

/// A node, as its announcer describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Its announcer's session lives.
    pub(crate) announcing: bool,
    pub(crate) interfaces: Vec<String>,
    /// `ready`, `off`, `disabled`, `failed`.
    pub(crate) xdp: String,
    /// How many addresses it answers for.
    pub(crate) owns: usize,
    /// For how many it stands by.
    pub(crate) stands_by: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) accepted: Option<bool>,
    pub(crate) forwarding: String,
    pub(crate) addresses: i32,
    pub(crate) nodes: i32,
}

/// How many addresses there are, by how they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addresses {
    pub(crate) total: usize,
    pub(crate) by_state: BTreeMap<String, usize>,
    /// Services of a load balancer of ours that have not all they want.
    pub(crate) waiting: usize,
}
