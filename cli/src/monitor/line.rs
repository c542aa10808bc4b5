//! One line of what happens: what it is about, whose business it is, and how it is written. Pure.

use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::words::{or_none, plain};

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum About {
    Address,
    Service,
    Gateway,
    Node,
    Event,
    /// The watching itself.
    Watch,
}

impl About {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Service => "service",
            Self::Gateway => "gateway",
            Self::Node => "node",
            Self::Event => "event",
            Self::Watch => "watch",
        }
    }
}

/// Whose business something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Whoever looks is told.
    Everybody,
    /// Who looks at one of these namespaces is told, and who looks at all; of none, the latter alone.
    Namespaces(Vec<String>),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// When it was seen here; of an Event, when it was written.
    pub(crate) time: String,
    pub(crate) kind: About,
    /// One word: `state`, `gained`, `moved`, …
    pub(crate) change: &'static str,
    /// `namespace/name`, where it is about an object of a namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    pub(crate) addresses: Vec<String>,
    /// The node that has the say now comes first.
    pub(crate) nodes: Vec<String>,
    pub(crate) words: String,
    #[serde(skip)]
    pub(crate) whose: Whose,
}

impl Line {
    pub(crate) fn new(now: Timestamp, kind: About, change: &'static str, words: &str) -> Self {
        Self {
            time: now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            kind,
            change,
            object: None,
            addresses: Vec::new(),
            nodes: Vec::new(),
            words: plain(words),
            whose: Whose::Everybody,
        }
    }

    /// For people. What others wrote begins no line of its own.
    pub(crate) fn draw(&self) -> String {
        let object = self.object.as_ref();
        let object = object.map_or_else(String::new, |object| format!("{object}: "));
        let change = match self.kind {
            About::Event => String::new(),
            _ => format!("{}: ", self.change),
        };
        row([
            &self.time,
            self.kind.as_str(),
            &plain(&or_none(self.addresses.join(","))),
            &plain(&or_none(
                self.nodes.first().map_or("", |node| node.as_str()),
            )),
            &format!("{}{change}{}", plain(&object), self.words),
        ])
    }
}

/// What stands above the lines.
pub(crate) fn heading() -> String {
    row(["TIME", "KIND", "ADDRESS", "NODE", "WHAT"])
}

/// Columns as wide as most need: nobody knows the lines to come.
fn row([time, kind, address, node, words]: [&str; 5]) -> String {
    format!("{time:<24}   {kind:<7}   {address:<15}   {node:<12}   {words}\n")
}

/// Which lines are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) address: Option<IpAddr>,
}

impl Filter {
    pub(crate) fn takes(&self, line: &Line) -> bool {
        // That something cannot be seen concerns everybody.
        if line.kind == About::Watch {
            return true;
        }
        let of_namespace = match (&self.namespace, &line.whose) {
            (None, _) | (_, Whose::Everybody) => true,
            (Some(one), Whose::Namespaces(all)) => all.contains(one),
        };
        let of_node = |node: &String| line.nodes.contains(node);
        let of_address = |address: &IpAddr| {
            let mut all = line.addresses.iter();
            all.any(|text| text.parse().is_ok_and(|one: IpAddr| one == *address))
        };
        of_namespace
            && self.node.as_ref().is_none_or(of_node)
            && self.address.as_ref().is_none_or(of_address)
    }
}
