//! Why a Service, a Gateway or an address is as it is, told as a tree.
//!
//! It decides nothing itself: the controller's planner does, over the controller's reading of what whoever asks may read.
//! Who may read own Services alone is told what the controller and the announcers wrote there, and what is missing.

mod announcing;
mod gateway;
mod ip;
mod service;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use landfall_controller::settings::Settings;
use serde::Serialize;

pub(crate) use gateway::gateway;
pub(crate) use ip::{ip, parse};
pub(crate) use service::service;

use crate::picture::Picture;
use crate::words::{Tree, age};

/// What is needed to explain.
pub(crate) struct Asked<'a> {
    pub(crate) picture: &'a Picture,
    pub(crate) settings: &'a Settings,
    /// What had to be guessed of the settings.
    pub(crate) guessed: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    /// What was asked about is as it should be.
    pub(crate) well: bool,
    #[serde(flatten)]
    pub(crate) tree: Tree,
}

/// A condition in words, with the time since when it says so.
fn said(condition: &Condition, now: Timestamp) -> Tree {
    let mark = match condition.status.as_str() {
        "True" => "✓",
        "False" => "✗",
        _ => "?",
    };
    let since = age(Some(&condition.last_transition_time), now);
    Tree::leaf(format!(
        "{mark} {} (for {since}): {}",
        condition.reason, condition.message
    ))
}

/// What could not be read, and who could permit it.
fn unread(what: &str) -> Tree {
    Tree::leaf(format!(
        "? {what} cannot be read: you may not list them (the ClusterRole landfall-view permits it)"
    ))
}
