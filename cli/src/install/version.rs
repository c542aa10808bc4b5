//! Which version is installed, and whether this program's is an older one. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use semver::Version;

use crate::manifests::{Choice, VERSION};
use crate::picture::Picture;
use crate::settings::container;
use crate::status::tag;

/// This program's.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// What an object says of the version that applied it.
pub(super) fn of(metadata: &ObjectMeta) -> Option<&str> {
    let annotations = metadata.annotations.as_ref()?;
    annotations.get(VERSION).map(String::as_str)
}

/// The newest of these versions, if it is newer than this program: what it installed must not be taken back unasked, for
/// definitions that lose a field lose what stands in it.
pub(super) fn newer_than_this<'a>(installed: impl Iterator<Item = &'a str>) -> Option<Version> {
    let own = Version::parse(OWN).ok()?;
    let newest = installed.filter_map(|text| Version::parse(text).ok()).max();
    newest.filter(|newest| *newest > own)
}

/// What the installation has chosen before. A tag of its own stays as long as the version does: it is a new version that
/// brings new images.
pub(super) fn choice(before: &Picture) -> Choice {
    let controller = before.controller();
    let same = controller.is_some_and(|found| of(&found.metadata) == Some(OWN));
    let image = controller
        .and_then(container)
        .and_then(|container| container.image.as_deref());
    Choice {
        tag: image.filter(|_| same).and_then(tag).map(str::to_owned),
        ..Choice::of(controller, before.announcer())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::picture::Sight;

    #[test]
    fn a_newer_installation_is_told_from_an_older_one() {
        let newer = |installed: &[&str]| newer_than_this(installed.iter().copied());
        assert_eq!(newer(&["0.0.9", "99.0.0"]), Some(Version::new(99, 0, 0)));
        assert_eq!(newer(&[OWN, "0.0.9", "no version"]), None);
        assert_eq!(newer(&[]), None);
    }

    #[test]
    fn a_tag_stays_as_long_as_the_version_does() {
        let chosen = |version: &str| {
            let deployment = json!({"metadata": {"name": "landfall-controller", "annotations": {VERSION: version}},
                "spec": {"selector": {}, "template": {"spec": {"containers": [
                    {"name": "c", "image": "registry.example.org:5000/lf/landfall-controller:mine"}]}}}});
            let picture = Picture {
                deployments: Sight::Seen(vec![serde_json::from_value(deployment).unwrap()]),
                ..Picture::default()
            };
            choice(&picture)
        };
        assert_eq!(chosen(OWN).tag.as_deref(), Some("mine"));
        assert_eq!(chosen("0.0.1").tag, None);
        assert_eq!(
            chosen("0.0.1").registry.as_deref(),
            Some("registry.example.org:5000/lf")
        );
    }
}
