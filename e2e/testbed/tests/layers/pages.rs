//! Pages that lead through the sources: every path they name must be there. And all pages: every link must lead somewhere,
//! to a heading where it names one, and the book's summary to every page of the documentation.

use std::collections::BTreeMap;
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

/// Where a line's links lead, below or beside the page, without the places in it.
fn links(line: &str) -> impl Iterator<Item = &str> {
    targets(line)
        .map(|(path, _)| path)
        .filter(|path| !path.is_empty())
}

/// A line's links within the tree: a path, empty for the page itself, and the place in it, where one is named.
fn targets(line: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .map(|target| match target.split_once('#') {
            Some((path, place)) => (path, Some(place)),
            None => (target, None),
        })
}

/// The pages of a folder and of those below it, what is built left out.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("target"))
        .flat_map(|path| match path.is_dir() {
            true => pages(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    found.sort();
    found
}

/// Every link of a page that leads nowhere, or to no heading, and every page of the documentation that its summary does
/// not list.
pub(crate) fn dead_links(tree: &Path) -> Vec<Violation> {
    const SUMMARY: &str = "docs/SUMMARY.md";
    let summary = fs::read_to_string(tree.join(SUMMARY)).unwrap();
    let listed: Vec<&str> = summary.lines().flat_map(links).collect();
    let mut found = Vec::new();
    for page in pages(tree) {
        let name = page.strip_prefix(tree).unwrap().display().to_string();
        let say = |line: usize, what: String, remedy: &str| Violation {
            file: name.clone(),
            line,
            what,
            remedy: remedy.to_owned(),
        };
        let documentation = name.strip_prefix("docs/");
        if name != SUMMARY && documentation.is_some_and(|page| !listed.contains(&page)) {
            found.push(say(
                1,
                format!("{SUMMARY} does not list it"),
                "give it a line there",
            ));
        }
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            for (path, place) in targets(line) {
                let target = match path {
                    "" => page.clone(),
                    path => page.parent().unwrap().join(path),
                };
                if !target.exists() {
                    let what = format!("{path} is not there");
                    found.push(say(number, what, "link to what has taken its place"));
                } else if let Some(place) = place.filter(|place| !has_place(&target, place)) {
                    let what = format!("{path} has no heading #{place}");
                    found.push(say(number, what, "link to the heading that it has now"));
                }
            }
        }
    }
    found
}

/// The lines of a page that are not between fences, by number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Whether a page has a heading that is linked to by this name. Of what is no page, every place is believed.
fn has_place(page: &Path, place: &str) -> bool {
    if page.extension().is_none_or(|ending| ending != "md") {
        return true;
    }
    let text = fs::read_to_string(page).unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    prose(&text)
        .filter(|(_, line)| line.starts_with('#'))
        .any(|(_, heading)| {
            let plain = place_of(heading.trim_start_matches('#').trim());
            let before = seen.entry(plain.clone()).or_default();
            let named = match *before {
                0 => plain,
                again => format!("{plain}-{again}"),
            };
            *before += 1;
            named == place
        })
}

/// A heading's name in links, as GitHub and mdBook make it.
fn place_of(heading: &str) -> String {
    heading
        .chars()
        .filter(|one| one.is_alphanumeric() || "-_ ".contains(*one))
        .map(|one| if one == ' ' { '-' } else { one })
        .flat_map(char::to_lowercase)
        .collect()
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
