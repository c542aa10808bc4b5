//! The page of symptoms beside the programs: what it tells people to type can be typed, what it quotes is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use clap::Parser as _;
use landfall_cli::args::Args;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap()
}

/// What stands between two marks, line by line.
fn between(page: &str, mark: char) -> Vec<String> {
    let of_line = |line: &str| {
        let parts = line.split(mark).skip(1).step_by(2);
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    page.lines().flat_map(of_line).collect()
}

#[test]
fn every_command_of_landfall_on_the_page_is_one() {
    let page = page();
    let blocks = page.lines().filter_map(|line| line.strip_prefix("    "));
    let all = blocks.map(str::to_owned).chain(between(&page, '`'));
    let mut tried = 0;
    for command in all.filter(|text| text == "landfall" || text.starts_with("landfall ")) {
        let typed = command.split('#').next().unwrap();
        let words = typed.split_whitespace();
        // In capitals stands what is to be put in.
        let words = words.map(|word| match word {
            "ADDRESS" => "192.0.2.10",
            word => word,
        });
        let words: Vec<&str> = words.collect();
        if words == ["landfall"] {
            continue;
        }
        tried += 1;
        if let Err(error) = Args::try_parse_from(words) {
            panic!("{command}: {error}");
        }
    }
    assert!(tried > 20, "{tried} commands");
}

/// Everything that is written in the programs of these folders: each literal that goes over several lines as one.
fn programs() -> String {
    fn read(folder: &Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut goes_on = false;
                for line in text.lines() {
                    let line = if goes_on { line.trim_start() } else { line };
                    goes_on = line.ends_with('\\');
                    all.push_str(line.trim_end_matches('\\'));
                    if !goes_on {
                        all.push('\n');
                    }
                }
            }
        }
    }
    let mut all = String::new();
    for folder in [
        "announcer/src",
        "bpf-lb/src",
        "cli/src",
        "controller/gateway/src",
        "controller/ipam/src",
        "controller/src",
        "crds/src",
        "runtime/src",
    ] {
        read(&root().join(folder), &mut all);
    }
    all
}

#[test]
fn every_sentence_that_the_page_quotes_is_written_in_the_programs() {
    let programs = programs();
    let mut tried = 0;
    // A single word between such marks is stressed, and no quotation.
    for quoted in between(&page(), '*') {
        if !quoted.contains(' ') {
            continue;
        }
        for part in quoted.split('…') {
            let part = part.trim();
            tried += 1;
            assert!(programs.contains(part), "{quoted:?}: nothing says {part:?}");
        }
    }
    assert!(tried > 50, "{tried} parts");
}
