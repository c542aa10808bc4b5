//! The table of allowed arrows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// All of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// By the name of the package.
    pub(crate) crates: BTreeMap<String, Rule>,
    pub(crate) impure: Impure,
    /// By package and room, the rooms that may be imported.
    pub(crate) rooms: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    #[serde(default)]
    pub(crate) owed: Owed,
}

/// What does not hold yet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owed {
    /// Crates that have circles.
    pub(crate) circles: BTreeSet<String>,
    /// Files that are too long.
    pub(crate) long: BTreeSet<String>,
}

/// What a crate may stand on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) may: BTreeSet<String>,
    #[serde(default)]
    pub(crate) tests: BTreeSet<String>,
    #[serde(default)]
    pub(crate) pure: bool,
}

/// What a pure crate does without.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Impure {
    pub(crate) crates: BTreeSet<String>,
    pub(crate) paths: Vec<String>,
}

impl Table {
    /// The table beside this file.
    pub(crate) fn read() -> Self {
        serde_saphyr::from_str(include_str!("layers.yaml")).unwrap()
    }
}

/// Something that must not be: where, what, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// From the root of the tree.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            what,
            remedy,
        } = self;
        write!(f, "{file}:{line}: {what}\n    remedy: {remedy}")
    }
}
