//! The rooms of a crate: its top-level modules, the arrows between them, and what is wrong with those.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::Source;
use super::table::Violation;

type Allowed = BTreeMap<String, BTreeSet<String>>;

/// The first line of each arrow: from a room, to a room.
pub(crate) type Arrows = BTreeMap<(String, String), (String, usize)>;

/// Every arrow between rooms. A name that the root brings in from a room is that room's.
pub(crate) fn arrows(sources: &[Source], tree: &Path) -> Arrows {
    let rooms: BTreeSet<&String> = sources
        .iter()
        .filter(|source| !source.test)
        .filter_map(|source| source.module.first())
        .collect();
    let root = sources.iter().find(|source| source.module.is_empty());
    let room_of = |path: &[String]| -> Option<String> {
        let first = path.get(1)?;
        if rooms.contains(first) {
            return Some(first.clone());
        }
        let stands_for = root?.uses.get(first)?;
        let at = usize::from(stands_for.first().is_some_and(|name| name == "crate"));
        stands_for
            .get(at)
            .filter(|name| rooms.contains(name))
            .cloned()
    };
    let mut arrows = Arrows::new();
    for source in sources.iter().filter(|source| !source.test) {
        let Some(from) = source.module.first() else {
            continue;
        };
        for (path, line) in &source.names {
            if path.first().is_some_and(|name| name == "crate")
                && let Some(to) = room_of(path)
                && to != *from
            {
                arrows
                    .entry((from.clone(), to))
                    .or_insert_with(|| (relative(&source.file, tree), *line));
            }
        }
    }
    arrows
}

/// A path from the root of the tree.
pub(crate) fn relative(file: &Path, tree: &Path) -> String {
    file.strip_prefix(tree)
        .unwrap_or(file)
        .display()
        .to_string()
}

/// Every arrow that lies on a circle.
pub(crate) fn circles(arrows: &Arrows) -> Vec<Violation> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().insert(to);
    }
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at) {
                open.extend(next.get(at).into_iter().flatten());
            }
        }
        false
    };
    arrows
        .iter()
        .filter(|((from, to), _)| reaches(to, from))
        .map(|((from, to), (file, line))| Violation {
            file: file.clone(),
            line: *line,
            what: format!("{from} imports {to}, from which {from} is reached again: a circle"),
            remedy: format!(
                "move what both need below both, or out of {from}, so that one of the arrows goes"
            ),
        })
        .collect()
}

/// Every arrow that the table does not allow, and every room it does not know or that is no more.
pub(crate) fn disallowed(
    arrows: &Arrows,
    allowed: &Allowed,
    rooms: &BTreeSet<String>,
    root: &str,
) -> Vec<Violation> {
    let of_the_table = |what: String, remedy: &str| Violation {
        file: root.to_owned(),
        line: 1,
        what,
        remedy: format!("{remedy} in e2e/testbed/tests/layers/layers.yaml"),
    };
    let unknown = rooms
        .iter()
        .filter(|room| !allowed.contains_key(*room))
        .map(|room| {
            of_the_table(
                format!("the room {room} is not in the table of layers"),
                "add it with the rooms it may import",
            )
        });
    let gone = allowed
        .keys()
        .filter(|room| !rooms.contains(*room))
        .map(|room| {
            of_the_table(
                format!("the room {room} of the table of layers is no more"),
                "delete its line",
            )
        });
    let arrows = arrows
        .iter()
        .filter(|((from, to), _)| allowed.get(from).is_some_and(|may| !may.contains(to)));
    let arrows = arrows.map(|((from, to), (file, line))| Violation {
        file: file.clone(),
        line: *line,
        what: format!("{from} must not import {to}"),
        remedy: format!("import what stands below {from}, or say in e2e/testbed/tests/layers/layers.yaml why it may"),
    });
    unknown.chain(gone).chain(arrows).collect()
}
