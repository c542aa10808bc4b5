//! The layers: which crate and which room may import which, as `layers.yaml` says; no circles; no file too long.
//!
//! A room is a top-level module of a crate, one file or a folder. What a crate's tests import is not looked at: tests may
//! see everything.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod checker;
mod crates;
mod pages;
mod rooms;
mod size;
mod source;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use table::{Table, Violation};

fn tree() -> PathBuf {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    tree.canonicalize().unwrap()
}

fn none(mut found: Vec<Violation>) {
    found.sort();
    found.dedup();
    let lines: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn a_crate_stands_only_on_those_the_table_allows() {
    let tree = tree();
    none(crates::disallowed(
        &crates::all(&tree),
        &Table::read(),
        &tree,
    ));
}

#[test]
fn a_pure_crate_names_no_file_socket_thread_or_clock() {
    let (tree, table) = (tree(), Table::read());
    let pure = crates::all(&tree).into_iter().filter(|package| {
        table
            .crates
            .get(&package.name)
            .is_some_and(|rule| rule.pure)
    });
    none(
        pure.flat_map(|package| crates::impure(&source::read(package.root()), &table, &tree))
            .collect(),
    );
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    let (tree, table) = (tree(), Table::read());
    let mut found = Vec::new();
    for package in crates::all(&tree) {
        let sources = source::read(package.root());
        let arrows = rooms::arrows(&sources, &tree);
        if !table.owed.circles.contains(&package.name) {
            found.extend(rooms::circles(&arrows));
        }
        if let Some(allowed) = table.rooms.get(&package.name) {
            let here: BTreeSet<String> = sources
                .iter()
                .filter(|source| !source.test)
                .filter_map(|source| source.module.first().cloned())
                .collect();
            let root = rooms::relative(package.root(), &tree);
            found.extend(rooms::disallowed(&arrows, allowed, &here, &root));
        }
    }
    none(found);
}

#[test]
fn no_file_is_too_long() {
    let tree = tree();
    let packages = crates::all(&tree);
    let sources: Vec<source::Source> = packages
        .iter()
        .flat_map(|package| source::read(package.root()))
        .collect();
    let owed = Table::read().owed.long;
    let mut found = size::too_long(&tree, &sources);
    found.retain(|long| !owed.contains(&long.file));
    none(found);
}

#[test]
fn every_path_that_a_page_names_is_there() {
    none(pages::dead_paths(&tree()));
}

#[test]
fn every_link_leads_somewhere_and_the_summary_to_every_page_of_the_documentation() {
    none(pages::dead_links(&tree()));
}
