//! Colours, for a terminal and for nothing else. Pure but for the choice.
//!
//! What is said is written without any; where it goes to a terminal, what it begins a line with is painted: so no table is
//! set by characters that nobody sees, and what others wrote, which begins no line, is never painted.

use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::args::Colour;

/// The answer goes to who sees colours.
static PAINTED: AtomicBool = AtomicBool::new(false);

/// Settles whether the answer is painted: as it is said, or else where standard output is a terminal that has colours, and
/// NO_COLOR does not say that nobody wants them.
pub(crate) fn settle(wanted: Colour) {
    let choice = match wanted {
        Colour::Auto => AutoStream::choice(&std::io::stdout()),
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
    };
    PAINTED.store(choice != ColorChoice::Never, Ordering::Relaxed);
}

/// Text of lines as it is printed.
pub(crate) fn on_terminal(text: String) -> String {
    match PAINTED.load(Ordering::Relaxed) {
        true => painted(&text),
        false => text,
    }
}

/// The marks that begin a line, be it a branch of a tree, and what became of a numbered check.
fn painted(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.map(line).collect()
}

fn line(text: &str) -> String {
    let drawn = [' ', '│', '├', '└', '─'];
    let body = text.trim_start_matches(drawn);
    let begin = text.len() - body.len();
    let marks = [("✓", AnsiColor::Green), ("✗", AnsiColor::Red)];
    for (mark, colour) in marks {
        if body.starts_with(mark) {
            return paint(text, begin, mark, colour);
        }
    }
    if !text.starts_with('[') {
        return text.to_owned();
    }
    let results = [
        ("passed", AnsiColor::Green),
        ("FAILED", AnsiColor::Red),
        ("SKIPPED", AnsiColor::Yellow),
    ];
    // The first of them: what it says comes behind.
    let found = results.into_iter().filter_map(|(word, colour)| {
        let at = text.find(&format!(" {word} "))? + 1;
        Some((at, word, colour))
    });
    match found.min_by_key(|(at, ..)| *at) {
        Some((at, word, colour)) => paint(text, at, word, colour),
        None => text.to_owned(),
    }
}

/// The text with the word at that byte painted.
fn paint(text: &str, at: usize, word: &str, colour: AnsiColor) -> String {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let (before, rest) = text.split_at(at);
    let rest = rest.strip_prefix(word).unwrap_or(rest);
    format!("{before}{style}{word}{style:#}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "NAME   READY\nfull   True\n✗ full: no address is free, says ✗\n· public: ✓ is no mark here\n\
        Service blue/web\n├─ ✓ its class is ours\n└─ pools\n   └─ ✗ odd: not accepted\n\
        [ 1/3] pools           passed    1.2s  2 accepted\n[ 2/3] arp             FAILED    1.2s  none passed us\n\
        [ 3/3] ndp             SKIPPED   0.0s  no IPv6 address\n3 checks: 1 passed, 1 failed, 1 skipped in 2.4s\n";

    #[test]
    fn marks_that_begin_a_line_and_results_of_checks_are_painted_and_nothing_else() {
        insta::assert_snapshot!(painted(TEXT).replace('\u{1b}', "ESC"));
    }

    #[test]
    fn without_its_colours_it_is_the_text() {
        assert_eq!(
            anstream::adapter::strip_str(&painted(TEXT)).to_string(),
            TEXT
        );
    }

    #[test]
    fn unless_a_terminal_reads_it_nothing_is_painted() {
        assert_eq!(on_terminal(TEXT.to_owned()), TEXT);
    }
}
