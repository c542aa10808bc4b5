//! A finished draft in words: what the Service's condition says.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;

use super::{Draft, Kept, Outcome};
use landfall_crds::text::{MAX_MESSAGE, line, quoted};

use crate::address::Family;
use crate::service::{FamilyPolicy, Service};
use crate::{PoolName, Reason};

/// How many names a message lists before it only counts.
const LISTED: usize = 4;

/// What the condition says of a finished draft.
pub(super) fn outcome(service: &Service, draft: &Draft) -> Outcome {
    let mut has: Vec<String> = Vec::new();
    for kept in &draft.keep {
        has.push(match &kept.out_of_pool {
            Some(why) => format!(
                "{}, which {why} (it stays{})",
                named(kept.address, None),
                way_out(service, kept)
            ),
            None => named(kept.address, kept.pool.as_ref()),
        });
    }
    has.extend(
        draft
            .take
            .iter()
            .map(|take| named(take.address, take.pool.as_ref())),
    );
    has.sort();
    let has = has.join("; ");
    let optional = |family: &Option<Family>| {
        service.policy == FamilyPolicy::PreferDualStack
            && family.is_some_and(|family| !draft.asks(family) && draft.has(family.other()))
    };
    let problem = draft.problems.iter().find(|(family, _)| !optional(family));
    let words: Vec<String> = draft
        .problems
        .iter()
        .map(|(family, refusal)| match family {
            Some(family) if optional(&Some(*family)) => format!("no {family}: {}", refusal.message),
            Some(family) => format!("{family}: {}", refusal.message),
            None => refusal.message.clone(),
        })
        .collect();
    let words = words.join("; ");
    let mut message = match (problem, has.is_empty(), words.is_empty()) {
        (None, _, true) => has,
        (None, _, false) => format!("{has}; {words}"),
        (Some(_), true, _) => words,
        (Some(_), false, _) => format!("{words}; keeps {has}"),
    };
    let both = service.policy == FamilyPolicy::RequireDualStack && draft.problems.len() == 1;
    if both && draft.keep.is_empty() {
        message.push_str("; RequireDualStack takes both families or none");
    }
    for note in draft.notes.iter().chain(&service.notes) {
        message.push_str("; ");
        message.push_str(note);
    }
    Outcome {
        assigned: problem.is_none(),
        reason: problem.map_or(Reason::Assigned, |(_, refusal)| refusal.reason),
        // One printable line of bounded length, whatever it was made of.
        message: line(message, MAX_MESSAGE),
    }
}

/// What would move an address off a pool that has lost it: it depends on what holds the Service.
fn way_out(service: &Service, kept: &Kept) -> String {
    const SET: &str = "set landfall.dev/renumber to \"true\"";
    let request = service.readable();
    let field = request.and_then(|request| request.fields.get(&kept.address));
    let external = service.external.contains(&kept.address);
    let field = field.copied().or(external.then_some("spec.externalIPs"));
    if let Some(field) = field {
        return format!(
            " while {field} names it; name another address there, or remove this one and {SET}"
        );
    }
    let named = |pool: &PoolName| request.is_some_and(|request| request.names(pool));
    match kept.pool.as_ref().filter(|pool| named(pool)) {
        Some(_) => format!(
            " while landfall.dev/pool names that pool; name another one there, or remove it and {SET}"
        ),
        None if request.is_some_and(|request| request.renumber) => {
            " until there is another one for it".to_owned()
        }
        None => format!("; {SET} to move"),
    }
}

fn named(address: IpAddr, pool: Option<&PoolName>) -> String {
    let family = Family::of(address);
    match pool {
        Some(pool) => format!("{family} {address} from pool {pool}"),
        None => format!("{family} {address}"),
    }
}

/// Pools by name, as the Service wrote them: `pool "a"`, or `pools "a" and "b"`.
pub(super) fn pools(names: &[PoolName]) -> String {
    let words: Vec<String> = names
        .iter()
        .map(|name| quoted(name.as_str()).to_string())
        .collect();
    match words.as_slice() {
        [one] => format!("pool {one}"),
        all => format!("pools {}", all.join(" and ")),
    }
}

/// The first few of a list, in words.
pub(super) fn list(words: impl IntoIterator<Item: Display>) -> String {
    let mut shown = String::new();
    for (at, word) in words.into_iter().enumerate() {
        if at == LISTED {
            shown.push_str(" and more");
            break;
        }
        let comma = if at == 0 { "" } else { ", " };
        // Writing to memory cannot fail.
        let _ = write!(shown, "{comma}{word}");
    }
    shown
}
