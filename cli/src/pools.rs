//! The pools and how full they are, as the controller counted them.

use landfall_crds::conditions::{ACCEPTED, EXHAUSTED, OVERLAP, find};
use landfall_crds::{FamilyCounts, LoadBalancerIPPool};
use serde::Serialize;

use crate::words::{bar, or_none, table};

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// `None`: nobody has looked at it yet.
    pub(crate) accepted: Option<bool>,
    pub(crate) blocks: String,
    pub(crate) families: Vec<Family>,
    /// What stands against it, by condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
    /// What people should know of it, though it works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// Counts of one family, as decimal strings: a /64 does not fit a JSON number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Family {
    pub(crate) family: &'static str,
    #[serde(flatten)]
    pub(crate) counts: FamilyCounts,
}

impl Family {
    /// What is not free, and of how many.
    pub(crate) fn bar(&self) -> String {
        let read = |text: &str| text.parse::<u128>().unwrap_or_default();
        let total = read(&self.counts.total);
        bar(total.saturating_sub(read(&self.counts.available)), total)
    }
}

/// The pools by name; only those named, where any are.
pub(crate) fn pools(all: &[LoadBalancerIPPool], named: &[String]) -> Vec<Pool> {
    let named = all.iter().filter(|pool| {
        let name = pool.metadata.name.as_ref();
        named.is_empty() || name.is_some_and(|name| named.contains(name))
    });
    let mut pools: Vec<Pool> = named.map(pool).collect();
    pools.sort_by(|one, two| one.name.cmp(&two.name));
    pools
}

fn pool(object: &LoadBalancerIPPool) -> Pool {
    let status = object.status.clone().unwrap_or_default();
    let current = status.observed_generation == object.metadata.generation;
    let says = |type_: &str| find(&status.conditions, type_);
    let accepted = says(ACCEPTED).filter(|_| current);
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    if let Some(condition) = accepted.filter(|condition| condition.status != "True") {
        problems.push(condition.message.clone());
    }
    if let Some(condition) =
        accepted.filter(|condition| condition.reason == "NodeAddressesExcluded")
    {
        notes.push(condition.message.clone());
    }
    if let Some(condition) = says(EXHAUSTED).filter(|condition| condition.status == "True") {
        problems.push(condition.message.clone());
    }
    if let Some(condition) = says(OVERLAP).filter(|condition| condition.status == "True") {
        match condition.reason.as_str() {
            "SharesClusterNetwork" => problems.push(condition.message.clone()),
            _ => notes.push(condition.message.clone()),
        }
    }
    let families = [("IPv4", status.ipv4), ("IPv6", status.ipv6)];
    let families = families.into_iter().filter_map(|(family, counts)| {
        let counts = counts?;
        Some(Family { family, counts })
    });
    Pool {
        name: object.metadata.name.clone().unwrap_or_default(),
        accepted: accepted.map(|condition| condition.status == "True"),
        blocks: status.summary.map(|words| words.blocks).unwrap_or_default(),
        families: families.collect(),
        problems,
        notes,
    }
}

impl Pool {
    /// The column READY.
    pub(crate) fn ready(&self) -> &'static str {
        match self.accepted {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let first = [
            self.name.clone(),
            self.ready().into(),
            or_none(&*self.blocks),
        ];
        let mut rows: Vec<Vec<String>> = self
            .families
            .iter()
            .map(|family| {
                let counts = &family.counts;
                vec![
                    family.family.into(),
                    family.bar(),
                    counts.assigned.clone(),
                    counts.reserved.clone(),
                    counts.available.clone(),
                    counts.total.clone(),
                ]
            })
            .collect();
        if rows.is_empty() {
            rows.push(vec![or_none("")]);
        }
        let heads = std::iter::once(first).chain(std::iter::repeat(["", "", ""].map(String::from)));
        heads
            .zip(rows)
            .map(|(head, row)| head.into_iter().chain(row).collect())
            .collect()
    }
}

/// For people.
pub(crate) fn draw(pools: &[Pool]) -> String {
    if pools.is_empty() {
        return "No pools. Nobody gets an address before there is one: apply a LoadBalancerIPPool.\n"
            .to_owned();
    }
    let heading = [
        "NAME", "READY", "BLOCKS", "FAMILY", "USED", "ASSIGNED", "RESERVED", "FREE", "TOTAL",
    ];
    let rows: Vec<Vec<String>> = pools.iter().flat_map(Pool::rows).collect();
    let mut out = table(&heading, &rows);
    for pool in pools {
        for (mark, words) in [("✗", &pool.problems), ("·", &pool.notes)] {
            for word in words {
                out.push_str(&format!(
                    "{mark} {}: {}\n",
                    pool.name,
                    crate::words::plain(word)
                ));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, status: serde_json::Value) -> LoadBalancerIPPool {
        serde_json::from_value(json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIPPool",
            "metadata": {"name": name, "generation": 1},
            "spec": {"blocks": [{"cidr": "192.0.2.64/27"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn a_pool_is_a_line_for_each_family_and_a_line_for_what_stands_against_it() {
        let public = object(
            "public",
            json!({"observedGeneration": 1,
                "ipv4": {"total": "31", "assigned": "5", "available": "24", "reserved": "2"},
                "ipv6": {"total": "18446744073709551616", "assigned": "1",
                    "available": "18446744073709551615", "reserved": "0"},
                "summary": {"blocks": "192.0.2.64/27,2001:db8::/64", "total": "", "assigned": "", "available": ""},
                "conditions": [condition("Accepted", "True", "Accepted", "in use"),
                    condition("Overlap", "True", "SharesAddresses", "shares addresses with pool old; each address is assigned once")]}),
        );
        let full = object(
            "full",
            json!({"observedGeneration": 1,
                "ipv4": {"total": "1", "assigned": "1", "available": "0", "reserved": "0"},
                "summary": {"blocks": "192.0.2.1", "total": "", "assigned": "", "available": ""},
                "conditions": [condition("Accepted", "True", "Accepted", "in use"),
                    condition("Exhausted", "True", "NoAddressAvailable", "no IPv4 address is free; add a block")]}),
        );
        let bad = object(
            "odd",
            json!({"observedGeneration": 1, "conditions": [condition("Accepted", "False", "Invalid",
                "spec.blocks[0].cidr: \"192.0.2.200/28\" has host bits set; write 192.0.2.192/28, or use start and stop")]}),
        );
        let new = object("new", json!({}));
        let pools = pools(&[public, full, bad, new], &[]);
        insta::assert_snapshot!(draw(&pools));
    }

    #[test]
    fn only_those_named_are_shown() {
        let all = [object("a", json!({})), object("b", json!({}))];
        let shown = pools(&all, &["b".to_owned()]);
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].name, "b");
    }
}
