//! The sentences the allocator can say, read out of its sources, so that none is forgotten.

use std::path::{Path, PathBuf};

use super::{messages, refusals};

/// What cannot come to be said: the ends of a range are compared before, and every range that no
/// Service can live on has a name.
const UNSAID: [&str; 4] = [
    "the range is empty",
    "a reserved address",
    "another one is named",
    " until there is another one for it",
];

/// The sentences in the allocator's sources: its string literals of more than one word, each as the
/// texts between what is filled in.
fn sentences() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ipam/src")) {
        let source = std::fs::read_to_string(file).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| {
            let line = line.trim_start();
            !line.starts_with("//") && !line.starts_with("#[") && !line.starts_with("reason =")
        });
        let code = lines.collect::<Vec<_>>().join("\n");
        let texts = literals(&code).into_iter();
        for text in texts.filter(|text| text.trim().contains(' ')) {
            let pieces = text.split(['{', '}']).step_by(2);
            let pieces = pieces.map(str::to_owned).filter(|piece| !piece.is_empty());
            found.push((text.clone(), pieces.collect()));
        }
    }
    found
}

/// The Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.extension() {
            None => sources(&path),
            Some(end) if end == "rs" => vec![path],
            Some(_) => vec![],
        })
        .collect()
}

/// The string literals of some code, without their escapes.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A character: 'x' or '\\x'; a lifetime has no end.
            '\'' if chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    match (c, chars.peek()) {
                        ('\\', Some('\n')) => {
                            while chars.next_if(|c| c.is_whitespace()).is_some() {}
                        }
                        ('\\', _) => text.extend(chars.next()),
                        _ => text.push(c),
                    }
                }
                found.push(text);
            }
            _ => {}
        }
    }
    found
}

/// Whether the pieces come one after the other in a text.
fn holds(text: &str, pieces: &[String]) -> bool {
    let mut rest = text;
    pieces
        .iter()
        .all(|piece| match rest.split_once(piece.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
}

#[test]
fn every_sentence_the_allocator_can_say_is_on_the_page() {
    let said = messages();
    let sentences = sentences();
    assert!(sentences.len() > 40, "{}", sentences.len());
    let missing = sentences
        .iter()
        .filter(|(text, _)| !UNSAID.contains(&text.as_str()))
        .filter(|(_, pieces)| !said.iter().any(|message| holds(message, pieces)));
    let missing: Vec<&String> = missing.map(|(text, _)| text).collect();
    assert!(missing.is_empty(), "no row has: {missing:#?}");
}

/// A word with which a remedy begins.
const REMEDIES: [&str; 25] = [
    "add",
    "ask for",
    "change",
    "correct",
    "create",
    "empty status",
    "it is ours as soon",
    "give both",
    "it is assigned as soon",
    "keep",
    "release",
    "it is ours",
    "take",
    "raise",
    "leave it out",
    "name",
    "provide",
    "remove",
    "set",
    "swap",
    "use",
    "wait",
    "widen",
    "write",
    "make",
];

#[test]
fn every_refusal_says_what_would_help() {
    for message in refusals() {
        let help = |words: &str| REMEDIES.iter().any(|word| words.trim().starts_with(word));
        let parts = message.split([';', ':', ',', '(']);
        assert!(parts.into_iter().any(help), "{message}");
    }
}
