//! Which frames are told of, as who looks says on standard input. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

/// A line of standard input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    addresses: BTreeSet<IpAddr>,
    /// Frames that are about no address, too.
    #[serde(default)]
    without_address: bool,
}

/// What was said last; nothing so far: all are.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The beginning of a line.
    begun: Vec<u8>,
    wanted: Option<Wanted>,
}

impl Asked {
    /// Takes what was read in, which may end anywhere.
    ///
    /// # Errors
    /// That a line is none of those; what was said before goes on.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let mut understood = Ok(());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                match serde_json::from_slice(&std::mem::take(&mut self.begun)) {
                    Ok(wanted) => self.wanted = Some(wanted),
                    Err(error) => understood = Err(error),
                }
            }
        }
        understood
    }

    /// Whether a frame about these addresses is told of.
    pub(super) fn wants(&self, about: &[IpAddr]) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| {
            let none = about.is_empty() && wanted.without_address;
            none || about.iter().any(|one| wanted.addresses.contains(one))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_told_until_somebody_says_what_and_the_last_word_counts() {
        let [own, other] = ["192.0.2.200", "2001:db8::1"].map(|text| text.parse().unwrap());
        let mut asked = Asked::default();
        let told = |asked: &Asked| [&[own][..], &[other], &[]].map(|about| asked.wants(about));
        assert_eq!(told(&asked), [true, true, true]);
        asked.hear(br#"{"addresses":["192.0.2.200"],"#).unwrap();
        assert_eq!(told(&asked), [true, true, true], "half a line says nothing");
        asked.hear(b"\"withoutAddress\":true}\n").unwrap();
        assert_eq!(told(&asked), [true, false, true]);
        asked
            .hear(b"{\"addresses\":[]}\n{\"addresses\":[\"2001:db8::1\"]}\n")
            .unwrap();
        assert_eq!(told(&asked), [false, true, false]);
        assert!(asked.hear(b"192.0.2.200\n").is_err());
        assert_eq!(
            told(&asked),
            [false, true, false],
            "what is none of it changes nothing"
        );
        assert!(asked.wants(&[own, other]));
    }
}
