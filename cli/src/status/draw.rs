//! The screen for people.

use super::{Addresses, Status};
use crate::picture::NAMESPACE;
use crate::pools;
use crate::words::{or_none, plain, table};

/// Draws it.
pub(crate) fn draw(status: &Status) -> String {
    let mut out = String::new();
    let verdict = match status.wrong.len() {
        0 if !status.unseen.is_empty() => format!(
            "whether all is well cannot be told without seeing {}",
            status.unseen.join(", ")
        ),
        0 => "all is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        many => format!("{many} things are wrong"),
    };
    out.push_str(&format!("Landfall in {NAMESPACE}: {verdict}\n"));
    if !status.workloads.is_empty() {
        let rows = status.workloads.iter().map(|workload| {
            vec![
                workload.name.clone(),
                format!("{}/{}", workload.ready, workload.wanted),
                or_none(&*workload.image),
            ]
        });
        section(
            &mut out,
            &table(&["WORKLOAD", "READY", "IMAGE"], &rows.collect::<Vec<_>>()),
        );
        if let Some(leader) = &status.leader {
            out.push_str(&format!("active: {}\n", plain(leader)));
        }
    }
    if !status.nodes.is_empty() {
        let rows = status.nodes.iter().map(|node| {
            vec![
                node.name.clone(),
                if node.announcing { "ready" } else { "away" }.to_owned(),
                or_none(node.interfaces.join(",")),
                or_none(&*node.xdp),
                node.owns.to_string(),
                node.stands_by.to_string(),
            ]
        });
        let heading = [
            "NODE",
            "ANNOUNCER",
            "INTERFACES",
            "XDP",
            "ANSWERS FOR",
            "STANDS BY FOR",
        ];
        section(&mut out, &table(&heading, &rows.collect::<Vec<_>>()));
    }
    let rows: Vec<Vec<String>> = status.pools.iter().flat_map(pool_rows).collect();
    if rows.is_empty() {
        section(&mut out, "no pools\n");
    } else {
        section(
            &mut out,
            &table(&["POOL", "READY", "FAMILY", "USED", "FREE", "TOTAL"], &rows),
        );
    }
    if !status.policies.is_empty() {
        let rows = status.policies.iter().map(|policy| {
            let ready = match policy.accepted {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            vec![
                policy.name.clone(),
                ready.to_owned(),
                policy.forwarding.clone(),
                policy.addresses.to_string(),
                policy.nodes.to_string(),
            ]
        });
        let heading = ["POLICY", "READY", "FORWARDING", "ADDRESSES", "NODES"];
        section(&mut out, &table(&heading, &rows.collect::<Vec<_>>()));
    }
    section(&mut out, &format!("{}\n", addresses(&status.addresses)));
    for (mark, words) in [("✗", &status.wrong), ("·", &status.notes)] {
        if !words.is_empty() {
            out.push('\n');
        }
        for word in words {
            out.push_str(&format!("{mark} {}\n", plain(word)));
        }
    }
    out
}

fn section(out: &mut String, text: &str) {
    out.push('\n');
    out.push_str(text);
}

fn pool_rows(pool: &pools::Pool) -> Vec<Vec<String>> {
    let head = [pool.name.clone(), pool.ready().to_owned()];
    if pool.families.is_empty() {
        return vec![head.into_iter().chain([or_none("")]).collect()];
    }
    let heads = std::iter::once(head).chain(std::iter::repeat([String::new(), String::new()]));
    let rows = pool.families.iter().map(|family| {
        [
            family.family.to_owned(),
            family.bar(),
            family.counts.available.clone(),
            family.counts.total.clone(),
        ]
    });
    heads
        .zip(rows)
        .map(|(head, row)| head.into_iter().chain(row).collect())
        .collect()
}

fn addresses(addresses: &Addresses) -> String {
    let mut words = vec![format!("addresses: {}", addresses.total)];
    let states = addresses.by_state.iter();
    words.extend(states.map(|(state, count)| format!("{count} {}", state.to_lowercase())));
    if addresses.waiting > 0 {
        words.push(format!("Services without one: {}", addresses.waiting));
    }
    words.join(", ")
}
