//! What an announcer publishes with its session, as one annotation of its Lease: what other nodes
//! must know to agree on candidates, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Interface, XdpState};

/// Session Leases are called this, followed by the node's name.
pub const LEASE_PREFIX: &str = "announcer-";

/// Label by which session Leases are listed.
pub const LABEL: (&str, &str) = ("landfall.dev/session", "announcer");

/// The annotation.
pub const ANNOTATION: &str = "landfall.dev/announcer";

/// On a Lease whose session another node has ended: that node.
pub const FENCED_BY: &str = "landfall.dev/fenced-by";

/// What an announcer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Published {
    /// Interfaces that may announce now.
    pub interfaces: Vec<Interface>,
    /// State of the XDP director.
    pub xdp: XdpState,
    /// About to stop: no candidate any more.
    pub leaving: bool,
}

/// Reads the annotation. Nonsense reads as an announcer that can do nothing.
pub fn read(annotations: &BTreeMap<String, String>) -> Published {
    annotations
        .get(ANNOTATION)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Writes the annotation.
pub fn write(published: &Published) -> String {
    serde_json::to_string(published).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nonsense_reads_as_nothing() {
        let published = Published {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                container: false,
            }],
            xdp: XdpState::Ready,
            leaving: false,
        };
        let annotate = |text: String| BTreeMap::from([(ANNOTATION.to_owned(), text)]);
        assert_eq!(read(&annotate(write(&published))), published);
        assert_eq!(read(&annotate("{]".into())), Published::default());
        assert_eq!(read(&BTreeMap::new()), Published::default());
    }
}
