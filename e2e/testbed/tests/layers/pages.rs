//! Pages that lead through the sources: every path they name must be there.

use std::fs;
use std::path::Path;

use super::table::Violation;

/// Paths in `backticks` from the root of the tree, and links relative to the page.
const PAGES: &[&str] = &[
    "CONTRIBUTING.md",
    "README.md",
    "docs/README.md",
    "docs/architecture.md",
];

/// Every path that a page names and that is not there.
pub(crate) fn dead_paths(tree: &Path) -> Vec<Violation> {
    PAGES
        .iter()
        .flat_map(|page| {
            let text = fs::read_to_string(tree.join(page)).unwrap();
            dead_paths_of(tree, page, &text)
        })
        .collect()
}

pub(crate) fn dead_paths_of(tree: &Path, page: &str, text: &str) -> Vec<Violation> {
    let folder = Path::new(page).parent().unwrap();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let quoted = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| is_path(word));
        let linked = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|target| !target.is_empty() && !target.contains("://"));
        let quoted = quoted.map(|path| (path, tree.join(path)));
        let linked = linked.map(|path| (path, tree.join(folder).join(path)));
        for (path, place) in quoted.chain(linked) {
            if !place.exists() {
                found.push(Violation {
                    file: page.to_owned(),
                    line: number + 1,
                    what: format!("{path} is not there"),
                    remedy: "name the file that has taken its place".to_owned(),
                });
            }
        }
    }
    found
}

/// Whether a word in backticks means a file of ours: a folder, a slash, a file with one of our endings.
fn is_path(word: &str) -> bool {
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c));
    let ending = [".rs", ".md", ".yaml", ".sh", ".toml"]
        .iter()
        .any(|ending| word.ends_with(ending));
    let first = word.split('/').next().unwrap_or_default();
    let ours = [
        "announcer",
        "bpf-lb",
        "config",
        "controller",
        "crds",
        "docs",
        "e2e",
        "hack",
        "runtime",
    ];
    plain && word.contains('/') && (ending || ours.contains(&first))
}
