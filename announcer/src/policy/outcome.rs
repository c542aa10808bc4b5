//! What became of a policy: what of it is in vain, and what another one overrules.

use std::collections::BTreeSet;

use super::compiled::CompiledPolicy;
use crate::names::PolicyName;

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PolicyOutcome {
    /// What is wrong with it.
    pub defects: Vec<String>,
    pub addresses: usize,
    /// Nodes that can announce under it.
    pub nodes: usize,
    /// There are nodes, and its `nodeSelector` matches none of them.
    pub selects_no_node: bool,
    /// Its `interfaces` that match none of the nodes that it selects.
    pub idle: Vec<IdlePattern>,
    /// Where there are idle ones: what interfaces these nodes have.
    pub interfaces: BTreeSet<String>,
    /// It forwards by the kernel, and these, which select a holder of the same address, by the director: they win.
    pub overruled_by: BTreeSet<PolicyName>,
    /// The other way round.
    pub overrules: BTreeSet<PolicyName>,
}

/// A pattern that matches no interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IdlePattern {
    pub pattern: String,
    /// What would match one, if it was written as a wildcard.
    pub meant: Option<String>,
}

impl PolicyOutcome {
    pub(super) fn of(policy: &CompiledPolicy<'_>) -> Self {
        let idle = policy.idle_patterns();
        let interfaces = policy.own_interfaces().filter(|_| !idle.is_empty());
        Self {
            defects: policy.defects.clone(),
            nodes: policy.nodes.len(),
            selects_no_node: policy.selects_no_node,
            interfaces: interfaces.map(str::to_owned).collect(),
            idle,
            ..Self::default()
        }
    }
}
