//! The checker itself, on made-up trees: what it must find, it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::Source;
use super::table::{Table, Violation};
use super::{crates, pages, rooms, size, source};

/// A crate of these files, by path and text; what its check finds.
fn check<T>(files: &[(&str, &str)], look: impl FnOnce(&[Source], &Path) -> T) -> T {
    let tree = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = tree.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    look(&source::read(&tree.path().join("src/lib.rs")), tree.path())
}

fn places(found: &[Violation]) -> Vec<(&str, usize)> {
    found
        .iter()
        .map(|found| (found.file.as_str(), found.line))
        .collect()
}

fn circles(files: &[(&str, &str)]) -> Vec<Violation> {
    check(files, |sources, tree| {
        rooms::circles(&rooms::arrows(sources, tree))
    })
}

#[test]
fn a_circle_is_found_by_file_and_line_at_both_ends() {
    let found = circles(&[
        ("src/lib.rs", "mod harbour;\nmod pilot;\nmod quay;\n"),
        ("src/harbour/mod.rs", "mod berth;\nuse crate::quay::Quay;\n"),
        (
            "src/harbour/berth.rs",
            "fn moor() {\n    crate::pilot::call();\n}\n",
        ),
        (
            "src/pilot.rs",
            "pub fn call() {}\nuse super::harbour::Berth;\n",
        ),
        ("src/quay.rs", "pub struct Quay;\n"),
    ]);
    assert_eq!(
        places(&found),
        [("src/harbour/berth.rs", 2), ("src/pilot.rs", 2)]
    );
    assert!(found[0].to_string().contains("remedy: "), "{}", found[0]);
}

#[test]
fn a_circle_is_found_through_a_name_of_the_root_a_group_and_a_macro() {
    let found = circles(&[
        (
            "src/lib.rs",
            "mod one;\nmod two;\nmod three;\npub use one::Thing;\n",
        ),
        (
            "src/one.rs",
            "use crate::{two::{self, A}, three as other};\n",
        ),
        ("src/two.rs", "fn f() -> crate::Thing { crate::Thing }\n"),
        ("src/three.rs", "fn f() { vec![crate::one::THING]; }\n"),
    ]);
    assert_eq!(
        places(&found),
        [
            ("src/one.rs", 1),
            ("src/one.rs", 1),
            ("src/three.rs", 1),
            ("src/two.rs", 1)
        ]
    );
}

#[test]
fn what_only_tests_import_makes_no_circle() {
    let found = circles(&[
        ("src/lib.rs", "mod one;\nmod two;\n"),
        ("src/one.rs", "use crate::two::A;\n"),
        (
            "src/two.rs",
            "pub struct A;\n#[cfg(test)]\nmod tests { use crate::one::B; }\n#[cfg(test)]\nmod more;\n",
        ),
        ("src/two/more.rs", "use crate::one::B;\n"),
    ]);
    assert_eq!(found, []);
}

#[test]
fn an_arrow_the_table_does_not_have_is_refused_and_so_is_a_room_it_does_not_know() {
    let files = [
        ("src/lib.rs", "mod one;\nmod two;\nmod three;\n"),
        ("src/one.rs", "use crate::two::A;\n\nuse crate::three::A;\n"),
        ("src/two.rs", "pub struct A;\n"),
        ("src/three.rs", "pub struct A;\n"),
    ];
    let allowed = BTreeMap::from([
        ("one".to_owned(), BTreeSet::from(["two".to_owned()])),
        ("two".to_owned(), BTreeSet::new()),
        ("four".to_owned(), BTreeSet::new()),
    ]);
    let found = check(&files, |sources, tree| {
        let here = sources
            .iter()
            .filter_map(|source| source.module.first().cloned())
            .collect();
        rooms::disallowed(&rooms::arrows(sources, tree), &allowed, &here, "src/lib.rs")
    });
    let what: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "the room three is not in the table of layers",
            "the room four of the table of layers is no more",
            "one must not import three",
        ]
    );
    assert_eq!(places(&found)[2], ("src/one.rs", 3));
}

#[test]
fn a_clock_in_a_pure_crate_is_found() {
    let files = [
        ("src/lib.rs", "mod one;\n"),
        (
            "src/one.rs",
            "use std::time::{Duration, Instant};\nfn now(_: Instant) {\n    Instant::now();\n}\n",
        ),
    ];
    let table = Table::read();
    let found = check(&files, |sources, tree| {
        crates::impure(sources, &table, tree)
    });
    assert_eq!(places(&found), [("src/one.rs", 3)]);
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count_at_first() {
    let code = |lines: usize| "fn f() {}\n".repeat(lines);
    let tests = |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", code(lines));
    let found = check(
        &[
            ("src/lib.rs", "mod fits;\nmod code;\nmod whole;\n"),
            ("src/fits.rs", &(code(500) + &tests(90))),
            ("src/code.rs", &(code(501) + &tests(10))),
            ("src/whole.rs", &(code(400) + &tests(200))),
            ("tests/long.rs", &code(601)),
            ("tests/fits.rs", &code(600)),
        ],
        |sources, tree| size::too_long(tree, sources),
    );
    assert_eq!(
        places(&found),
        [
            ("src/code.rs", 501),
            ("src/whole.rs", 601),
            ("tests/long.rs", 601)
        ]
    );
}

#[test]
fn a_path_that_is_not_there_is_found_in_backticks_and_in_links() {
    let text = "`docs/one.md` and [two](two.md), `docs/three.md`\n[four](../four.md#part), [far](https://example.org/x), `a/b`\n";
    let found = check(
        &[("src/lib.rs", ""), ("docs/one.md", ""), ("docs/two.md", "")],
        |_, tree| pages::dead_paths_of(tree, "docs/page.md", text),
    );
    assert_eq!(places(&found), [("docs/page.md", 1), ("docs/page.md", 2)]);
}

#[test]
fn a_dead_link_and_a_page_that_the_summary_does_not_list_are_found() {
    let found = check(
        &[
            ("src/lib.rs", ""),
            ("docs/SUMMARY.md", "[one](one.md)"),
            (
                "docs/one.md",
                "[two](below/two.md)\n[none](none.md#a), [far](https://example.org/x)",
            ),
            ("docs/below/two.md", "[back](../one.md)"),
            ("README.md", "[one](docs/one.md), [three](docs/three.md)"),
        ],
        |_, tree| pages::dead_links(tree),
    );
    assert_eq!(
        places(&found),
        [
            ("README.md", 1),
            ("docs/below/two.md", 1),
            ("docs/one.md", 2)
        ]
    );
}

#[test]
fn a_link_to_a_heading_that_is_not_there_is_found() {
    let found = check(
        &[
            ("src/lib.rs", ""),
            ("docs/SUMMARY.md", "[one](one.md)\n[two](two.md)"),
            (
                "docs/one.md",
                "# One\n[it](two.md#who-is-heard-1-of-2), [again](two.md#two-1)\n[not](two.md#three)\n[here](#one)\n[nor](#two)\n\
                 ```\n[code](two.md#none)\n```\n",
            ),
            (
                "docs/two.md",
                "# Two\n## Who is `heard`, 1 of 2?\n## Two\n```sh\n# three\n```\n",
            ),
        ],
        |_, tree| pages::dead_links(tree),
    );
    assert_eq!(places(&found), [("docs/one.md", 3), ("docs/one.md", 5)]);
}
