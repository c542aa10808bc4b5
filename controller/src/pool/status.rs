//! A pool's status from the index. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use landfall_crds::conditions::{ACCEPTED, EXHAUSTED, NewCondition, OVERLAP};
use landfall_crds::{
    Block, FamilyCounts, LoadBalancerIPPool, LoadBalancerIPPoolStatus, PoolSummary,
};
use serde_json::{Value, json};

use landfall_ipam::counts::Counts;
use landfall_ipam::pools::Pool;
use landfall_ipam::{Family, Index, Network, PoolName};

/// How many names or addresses a message lists.
const LISTED: usize = 4;

/// The status to write, or `None` when the pool says so already.
#[must_use]
pub fn build(
    index: &Index,
    pool: &LoadBalancerIPPool,
    name: &PoolName,
    now: Time,
) -> Option<Value> {
    let before = pool.status.clone().unwrap_or_default();
    let generation = pool.metadata.generation;
    let (verdicts, counts) = match index.pool(name)? {
        Ok(compiled) => {
            let counts = Family::ALL.map(|family| {
                (compiled.total(family) > 0).then(|| index.counts_of(compiled, family))
            });
            let verdicts = vec![
                accepted(index, compiled),
                overlap(index, compiled),
                exhausted(index, compiled, &counts),
            ];
            (verdicts, counts)
        }
        Err(error) => (
            vec![verdict(ACCEPTED, false, "Invalid", error.to_string())],
            [None, None],
        ),
    };
    let conditions = verdicts
        .into_iter()
        .map(|verdict| verdict.condition(&before.conditions, generation, now.clone()))
        .collect();
    let [v4, v6] = counts;
    let status = LoadBalancerIPPoolStatus {
        observed_generation: generation,
        ipv4: v4.map(strings),
        ipv6: v6.map(strings),
        summary: Some(summary(&pool.spec.blocks, &counts)),
        conditions,
    };
    (status != before).then(|| json!(status))
}

fn verdict(type_: &'static str, status: bool, reason: &str, message: String) -> NewCondition {
    NewCondition {
        type_,
        status: Some(status),
        reason: reason.to_owned(),
        message,
    }
}

fn accepted(index: &Index, pool: &Pool) -> NewCondition {
    if pool.draining {
        let records = index.records_of(&pool.name);
        return verdict(
            ACCEPTED,
            false,
            "Draining",
            format!(
                "is being deleted; {records} addresses are still held and stay until their holders \
                 go, ask for another address or pool, or set landfall.dev/renumber to \"true\""
            ),
        );
    }
    let nodes = index.nodes_in(pool);
    if nodes.is_empty() {
        let message = if pool.disabled {
            "disabled: makes no new assignments"
        } else {
            "in use"
        };
        return verdict(ACCEPTED, true, "Accepted", message.to_owned());
    }
    let words: Vec<String> = nodes
        .iter()
        .map(|(at, nodes)| format!("{} (node {})", at.address(), nodes.join(", ")))
        .collect();
    verdict(
        ACCEPTED,
        true,
        "NodeAddressesExcluded",
        format!("never hands out the addresses of nodes: {}", list(&words)),
    )
}

fn overlap(index: &Index, pool: &Pool) -> NewCondition {
    let others: Vec<String> = index
        .overlapping(pool)
        .iter()
        .map(ToString::to_string)
        .collect();
    let pools = (!others.is_empty()).then(|| {
        let others = list(&others);
        format!("shares addresses with pool {others}; each address is assigned once")
    });
    let networks: Vec<String> = index
        .networks_in(pool)
        .iter()
        .map(|(range, network)| match network {
            Network::Services(name) => format!("{range} (ServiceCIDR {name})"),
            Network::Pods(node) => format!("{range} (Pods of node {node})"),
        })
        .collect();
    if !networks.is_empty() {
        let networks = list(&networks);
        let pools = pools.map(|pools| format!("; it {pools}"));
        let message = format!(
            "has addresses of {networks}, which the cluster uses itself; take them out of spec.blocks{}",
            pools.unwrap_or_default()
        );
        return verdict(OVERLAP, true, "SharesClusterNetwork", message);
    }
    match pools {
        Some(message) => verdict(OVERLAP, true, "SharesAddresses", message),
        None => {
            let message = "no other pool has its addresses".to_owned();
            verdict(OVERLAP, false, "NoOverlap", message)
        }
    }
}

fn exhausted(index: &Index, pool: &Pool, counts: &[Option<Counts>; 2]) -> NewCondition {
    let families = Family::ALL.into_iter().zip(counts);
    let full: Vec<&str> = families
        .filter(|(_, counts)| counts.is_some_and(|counts| counts.available == 0))
        .map(|(family, _)| family.as_str())
        .collect();
    if full.is_empty() {
        verdict(
            EXHAUSTED,
            false,
            "AddressesAvailable",
            "addresses are available".to_owned(),
        )
    } else {
        let standing = Family::ALL
            .into_iter()
            .filter(|family| full.contains(&family.as_str()))
            .filter_map(|family| index.standing_in(pool, family));
        let standing: Vec<String> = standing.collect();
        let mut message = format!("no {} address is free", full.join(" and no "));
        if !standing.is_empty() {
            message.push_str(&format!(" ({})", standing.join(", ")));
        }
        message.push_str("; add a block");
        verdict(EXHAUSTED, true, "NoAddressAvailable", message)
    }
}

fn strings(counts: Counts) -> FamilyCounts {
    let Counts {
        total,
        assigned,
        available,
        reserved,
    } = counts;
    FamilyCounts {
        total: total.to_string(),
        assigned: assigned.to_string(),
        available: available.to_string(),
        reserved: reserved.to_string(),
    }
}

fn summary(blocks: &[Block], counts: &[Option<Counts>; 2]) -> PoolSummary {
    let join = |pick: fn(&Counts) -> u128| {
        let words: Vec<String> = counts
            .iter()
            .flatten()
            .map(|c| pick(c).to_string())
            .collect();
        if words.is_empty() {
            "0".to_owned()
        } else {
            words.join(" + ")
        }
    };
    let words: Vec<String> = blocks.iter().take(3).map(block).collect();
    let more = blocks.len().saturating_sub(words.len());
    let shown = words.join(",");
    PoolSummary {
        blocks: if more == 0 {
            shown
        } else {
            format!("{shown} and {more} more")
        },
        total: join(|counts| counts.total),
        assigned: join(|counts| counts.assigned),
        reserved: join(|counts| counts.reserved),
        available: join(|counts| counts.available),
    }
}

fn block(block: &Block) -> String {
    match (&block.cidr, &block.start, &block.stop) {
        (Some(cidr), _, _) => cidr.clone(),
        (None, Some(start), Some(stop)) => format!("{start}-{stop}"),
        (None, Some(start), None) => start.clone(),
        (None, None, _) => "?".to_owned(),
    }
}

fn list(words: &[String]) -> String {
    let shown = words.get(..LISTED).unwrap_or(words).join(", ");
    if words.len() > LISTED {
        format!("{shown} and {} more", words.len() - LISTED)
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use landfall_crds::LoadBalancerIPPoolSpec;
    use landfall_ipam::address::Point;
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    #[test]
    fn a_pool_says_which_of_its_addresses_are_those_of_nodes() {
        let name = PoolName::from("p");
        let block = Block {
            cidr: Some("192.0.2.0/30".to_owned()),
            ..Block::default()
        };
        let pool = LoadBalancerIPPool::new("p", LoadBalancerIPPoolSpec::of(vec![block]));
        let mut index = Index::default();
        index.pool_seen(&name, Some(Pool::compile("p", &pool.spec, false)));
        let at = BTreeSet::from([Point::from(IpAddr::from([192, 0, 2, 1]))]);
        index.node_seen("one", &at);
        index.node_seen("two", &at);
        let now = Time(Timestamp::UNIX_EPOCH);
        let status = build(&index, &pool, &name, now).unwrap();
        let accepted = &status["conditions"][0];
        assert_eq!(accepted["status"], "True");
        assert_eq!(accepted["reason"], "NodeAddressesExcluded");
        assert_eq!(
            accepted["message"],
            "never hands out the addresses of nodes: 192.0.2.1 (node one, two)"
        );
        assert_eq!(status["ipv4"]["total"], "3");
    }
}
