//! Ranges as others write them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
