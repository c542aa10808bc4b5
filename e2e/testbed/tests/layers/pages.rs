//! Pages that lead through the sources: every path they name must be there. And all pages of the documentation: every link
//! must lead somewhere, and the book's summary to every page.

use std::fs;
use std::path::{Path, PathBuf};

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
        let linked = links(line);
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

/// Where a line's links lead, below or beside the page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The pages of a folder and of those below it.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => pages(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    found.sort();
    found
}

/// Every link of the documentation that leads nowhere, and every page that its summary does not list.
pub(crate) fn dead_links(tree: &Path) -> Vec<Violation> {
    const SUMMARY: &str = "SUMMARY.md";
    let docs = tree.join("docs");
    let summary = fs::read_to_string(docs.join(SUMMARY)).unwrap();
    let listed: Vec<&str> = summary.lines().flat_map(links).collect();
    let mut found = Vec::new();
    for page in pages(&docs) {
        let name = page.strip_prefix(&docs).unwrap().display().to_string();
        let say = |line: usize, what: String, remedy: &str| Violation {
            file: format!("docs/{name}"),
            line,
            what,
            remedy: remedy.to_owned(),
        };
        if name != SUMMARY && !listed.contains(&name.as_str()) {
            let what = format!("docs/{SUMMARY} does not list it");
            found.push(say(1, what, "give it a line there"));
        }
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                if !page.parent().unwrap().join(target).exists() {
                    let what = format!("{target} is not there");
                    found.push(say(number + 1, what, "link to what has taken its place"));
                }
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
