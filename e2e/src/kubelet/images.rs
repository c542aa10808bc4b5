//! The image store: a table from image names to binaries of the host.
//!
//! A name that is not in the table is an image that cannot be pulled; nothing is guessed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// What an image's name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Image {
    /// The binary on the host.
    pub(crate) path: PathBuf,
    /// Arguments of the entry point, before those of the container.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Environment of the image, which the container's own overrides.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// The image's user, where the Pod names none.
    #[serde(default)]
    pub(crate) user: u32,
}

impl Image {
    /// File name of the binary.
    pub(crate) fn binary(&self) -> String {
        self.path.file_name().map_or_else(
            || "entry".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    /// Where the container finds the binary: a place any user may traverse, whatever the host's path.
    pub(crate) fn mounted_at(&self) -> String {
        format!("/landfall/bin/{}", self.binary())
    }
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Images(BTreeMap<String, Image>);

/// Why there is no such image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The table itself.
    #[error("the image table {path}: {detail}")]
    Table { path: String, detail: String },
    /// Not in it.
    #[error("image {0:?} is not in the lab's table, and the lab pulls none")]
    Unknown(String),
    /// In it, but the binary is not there.
    #[error("image {image:?}: its binary {path} does not exist: build it first")]
    Missing { image: String, path: String },
}

impl Images {
    /// Reads the table; the agent reads it anew for every container, so a lab may add to it while it runs.
    pub(crate) fn read(path: &Path) -> Result<Self, ImageError> {
        let table = |detail: String| ImageError::Table {
            path: path.display().to_string(),
            detail,
        };
        let text = std::fs::read_to_string(path).map_err(|e| table(e.to_string()))?;
        serde_saphyr::from_str(&text).map_err(|e| table(e.to_string()))
    }

    /// Finds an image; `docker.io/` is the default registry and may be left out on either side.
    pub(crate) fn find(&self, name: &str) -> Result<&Image, ImageError> {
        let short = |name: &str| {
            name.trim_start_matches("docker.io/")
                .trim_start_matches("library/")
                .to_owned()
        };
        self.0
            .iter()
            .find(|(known, _)| short(known) == short(name))
            .map(|(_, image)| image)
            .ok_or_else(|| ImageError::Unknown(name.to_owned()))
    }

    /// Finds an image whose binary exists.
    pub(crate) fn present(&self, name: &str) -> Result<Image, ImageError> {
        let image = self.find(name)?.clone();
        match image.path.canonicalize() {
            Ok(path) => Ok(Image { path, ..image }),
            Err(_) => Err(ImageError::Missing {
                image: name.to_owned(),
                path: image.path.display().to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Images {
        serde_saphyr::from_str(
            "envoyproxy/envoy:v1.40.0: {path: /opt/envoy, user: 101}\nlandfall/x:0.1.0: {path: /nowhere/x, args: [serve]}\n",
        )
        .unwrap()
    }

    #[test]
    fn the_default_registry_may_be_named() {
        let images = table();
        assert_eq!(
            images
                .find("docker.io/envoyproxy/envoy:v1.40.0")
                .unwrap()
                .user,
            101
        );
    }

    #[test]
    fn an_unknown_image_is_not_pulled() {
        assert!(matches!(
            table().find("nginx:1"),
            Err(ImageError::Unknown(_))
        ));
    }

    #[test]
    fn a_binary_that_is_not_built_says_so() {
        let error = table().present("landfall/x:0.1.0").unwrap_err().to_string();
        assert!(error.contains("/nowhere/x"), "{error}");
    }

    #[test]
    fn an_unknown_field_of_the_table_is_refused() {
        assert!(serde_saphyr::from_str::<Images>("a: {path: /x, entrypoint: y}").is_err());
    }
}
