//! What others wrote, made fit for a sentence.
//!
//! Annotations, labels and names come from people whom not everybody trusts, and go into conditions,
//! Events and logs. There they are quoted: escaped, so that no newline begins a line of its own and
//! nothing steers a terminal, and cut, so that the sentence stays a sentence.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// How many characters of a text are quoted.
pub const MAX_QUOTE: usize = 64;

/// How many bytes a condition's message has at most.
pub const MAX_MESSAGE: usize = 4096;

/// `text` in quotation marks: every character that is not plainly printable is escaped, and after
/// [`MAX_QUOTE`] characters an ellipsis stands for the rest.
///
/// ```
/// use landfall_crds::text::quoted;
///
/// assert_eq!(quoted("gold").to_string(), r#""gold""#);
/// assert_eq!(quoted("x\nINFO all is well").to_string(), r#""x\nINFO all is well""#);
/// ```
#[must_use]
pub const fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// What [`quoted`] returns; written by its `Display`.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut room = MAX_QUOTE;
        for character in self.0.chars() {
            let escaped = escape(character);
            let Some(rest) = room.checked_sub(escaped.clone().count()) else {
                f.write_char('…')?;
                break;
            };
            room = rest;
            escaped.into_iter().try_for_each(|c| f.write_char(c))?;
        }
        f.write_char('"')
    }
}

/// Apostrophes stand for themselves between quotation marks.
fn escape(character: char) -> impl Iterator<Item = char> + Clone {
    let plain = (character == '\'').then_some('\'');
    let escaped = plain.is_none().then(|| character.escape_debug());
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// A whole sentence as one line: what is not printable in it is escaped, and beyond `max` bytes it
/// is cut between two characters.
///
/// Quoting is the duty of who writes the sentence; this is the net below.
#[must_use]
pub fn line<'a>(text: impl Into<Cow<'a, str>>, max: usize) -> String {
    const CUT: &str = "...";
    let text = text.into();
    // Almost all of them are plain already.
    if text.len() <= max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len().min(max));
    for character in text.chars() {
        // Marks of a sentence that `escape_debug` would escape.
        if matches!(character, '"' | '\'' | '\\') {
            out.push(character);
        } else {
            out.extend(character.escape_debug());
        }
        if out.len() > max {
            let end = (0..=max.saturating_sub(CUT.len()))
                .rev()
                .find(|&end| out.is_char_boundary(end))
                .unwrap_or(0);
            out.truncate(end);
            out.push_str(CUT);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters that start lines, ring, colour or turn the direction of writing.
    const HOSTILE: &str = "\n\r\t\0\u{7}\u{1b}\u{7f}\u{85}\u{200b}\u{2028}\u{202e}\u{2066}\u{feff}";

    fn is_plain(text: &str) -> bool {
        !text.chars().any(|c| c.is_control() || HOSTILE.contains(c))
    }

    #[test]
    fn what_could_forge_a_line_or_steer_a_terminal_is_escaped() {
        let said = quoted("x\n\u{1b}[31mRED\u{202e}").to_string();
        assert_eq!(said, r#""x\n\u{1b}[31mRED\u{202e}""#);
    }

    #[test]
    fn a_long_text_is_cut_and_a_short_one_is_not() {
        let whole = "a".repeat(MAX_QUOTE);
        assert_eq!(quoted(&whole).to_string(), format!("\"{whole}\""));
        assert_eq!(
            quoted(&format!("{whole}b")).to_string(),
            format!("\"{whole}…\"")
        );
    }

    #[test]
    fn a_sentence_keeps_its_marks_and_loses_its_newlines() {
        assert_eq!(
            line("pool \"x\" isn't\nthere", 100),
            "pool \"x\" isn't\\nthere"
        );
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_between_characters() {
        let cut = line("ä".repeat(1000), 1024);
        assert!(cut.len() <= 1024 && cut.ends_with("ä..."), "{cut}");
    }

    proptest! {
        #[test]
        fn no_quotation_has_a_control_character_or_is_long(
            text in proptest::collection::vec(any::<char>(), 0..200).prop_map(String::from_iter),
            hostile in proptest::sample::select(HOSTILE.chars().collect::<Vec<_>>()),
        ) {
            let said = quoted(&format!("{hostile}{text}")).to_string();
            prop_assert!(is_plain(&said), "{said:?}");
            prop_assert!(said.chars().count() <= MAX_QUOTE + 3);
        }

        #[test]
        fn no_line_has_a_control_character_or_is_longer_than_asked(
            text in proptest::collection::vec(any::<char>(), 0..200).prop_map(String::from_iter),
            max in 3_usize..300,
        ) {
            let said = line(format!("{HOSTILE}{text}"), max);
            prop_assert!(is_plain(&said), "{said:?}");
            prop_assert!(said.len() <= max);
        }
    }
}
