//! Ranges and names of interfaces as others write them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use landfall_crds::Block;
use landfall_crds::text::quoted;

/// A block of a CIDR, a range `first-last`, or one address. A CIDR with host bits is read as its network, as the others
/// read it.
///
/// # Errors
/// What cannot be read.
pub(super) fn read(text: &str) -> Result<Block, String> {
    let text = text.trim();
    let unreadable = || {
        format!(
            "{} is neither a network nor a range of addresses",
            quoted(text)
        )
    };
    if text.contains('/') {
        let network: IpNetwork = text.parse().map_err(|_| unreadable())?;
        return Ok(Block {
            cidr: Some(format!("{}/{}", network.network(), network.prefix())),
            ..Block::default()
        });
    }
    let (start, stop) = match text.split_once('-') {
        Some((start, stop)) => (start.trim(), Some(stop.trim())),
        None => (text, None),
    };
    let first: IpAddr = start.parse().map_err(|_| unreadable())?;
    let last: Option<IpAddr> = stop
        .map(|stop| stop.parse().map_err(|_| unreadable()))
        .transpose()?;
    Ok(Block {
        cidr: None,
        start: Some(first.to_string()),
        stop: last
            .filter(|last| *last != first)
            .map(|last| last.to_string()),
    })
}

/// A block in one word.
pub(super) fn said(block: &Block) -> String {
    match (&block.cidr, &block.start, &block.stop) {
        (Some(cidr), _, _) => cidr.clone(),
        (None, Some(start), Some(stop)) => format!("{start}-{stop}"),
        (None, Some(start), None) => start.clone(),
        (None, None, _) => String::new(),
    }
}

/// Interface names as patterns that match them and nothing else.
pub(super) fn exactly(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| regex::escape(name)).collect()
}

/// A pattern that others hold against a part of a name, as one for the whole of it.
pub(super) fn whole(pattern: &str) -> String {
    if pattern.contains('|') {
        // Each side has ends of its own.
        return format!(".*(?:{pattern}).*");
    }
    let (before, rest) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => (".*", pattern),
    };
    let escaped = rest.ends_with("\\$");
    let (rest, after) = match rest.strip_suffix('$').filter(|_| !escaped) {
        Some(rest) => (rest, ""),
        None => (rest, ".*"),
    };
    format!("{before}{rest}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_a_part_becomes_one_of_the_whole() {
        let all = ["^eth[0-9]+$", "^eth[0-9]+", "eth", "bond0$"].map(whole);
        assert_eq!(all, ["eth[0-9]+", "eth[0-9]+.*", ".*eth.*", ".*bond0"]);
    }

    #[test]
    fn a_pattern_of_the_whole_matches_what_the_pattern_of_a_part_did() {
        let patterns = [
            "^eth0|^bond0$",
            "eth|bond",
            "^eth0$|ens",
            "eth",
            "^ens.*$",
            r"a\$",
            "x|",
        ];
        let names = [
            "eth0", "eth01", "xeth0", "bond0", "bond01", "ens160", "lo", "a$",
        ];
        for pattern in patterns {
            let (part, all) = (regex::Regex::new(pattern).unwrap(), whole(pattern));
            let all = regex::Regex::new(&format!("^(?:{all})$")).unwrap();
            for name in names {
                assert_eq!(
                    part.is_match(name),
                    all.is_match(name),
                    "{pattern} and {name}"
                );
            }
        }
    }

    #[test]
    fn ranges_are_read_as_others_write_them() {
        let all = [
            "192.0.2.0/28",
            "192.0.2.5/28",
            "192.0.2.1 - 192.0.2.9",
            "192.0.2.7",
            "192.0.2.7-192.0.2.7",
            "2001:db8::1-2001:db8::f",
        ];
        let read: Vec<String> = all.iter().map(|text| said(&read(text).unwrap())).collect();
        assert_eq!(
            read,
            [
                "192.0.2.0/28",
                "192.0.2.0/28",
                "192.0.2.1-192.0.2.9",
                "192.0.2.7",
                "192.0.2.7",
                "2001:db8::1-2001:db8::f"
            ]
        );
        assert!(super::read("first-last").is_err());
    }
}
