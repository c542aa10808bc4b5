//! Volumes of a Pod: what each is, and the files it shall hold. Pure; `writer` puts them on disk.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume,
};

use super::{
    env,
    objects::{Kind, Objects},
    pod::{self, Addresses},
};

const DEFAULT_MODE: i32 = 0o644;

/// What a volume is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A directory for the Pod's life; in memory as a tmpfs of this size limit.
    EmptyDir { memory: bool, size: Option<String> },
    /// A path of the node, below its root.
    HostPath { path: String, kind: String },
    /// Files made from the API.
    Files(Vec<Source>),
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Object {
        kind: Kind,
        name: String,
        items: Option<Vec<KeyToPath>>,
        optional: bool,
        mode: i32,
    },
    Downward {
        items: Vec<DownwardAPIVolumeFile>,
        mode: i32,
    },
    Token {
        projection: ServiceAccountTokenProjection,
        mode: i32,
    },
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    /// A token belongs to the Pod's user and to nobody else.
    pub(crate) private: bool,
}

/// Why a volume cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(
        "volume {0:?}: the lab's kubelet plays configMap, secret, downwardAPI, projected, emptyDir and hostPath only"
    )]
    Unplayed(String),
    #[error("{kind} {name:?} not found")]
    NoObject { kind: Kind, name: String },
    #[error("{kind} {name:?} has no key {key:?}")]
    NoKey {
        kind: Kind,
        name: String,
        key: String,
    },
    #[error("path {0:?} leaves its volume")]
    Path(String),
    #[error("token for audience {0:?} was not issued")]
    NoToken(String),
    #[error(transparent)]
    Downward(#[from] env::EnvError),
}

/// The volumes of a Pod by name.
pub(crate) fn of_pod(pod: &Pod) -> Result<BTreeMap<String, Content>, VolumeError> {
    let spec = pod::spec(pod);
    let volumes = spec.volumes.iter().flatten();
    volumes
        .map(|volume| Ok((volume.name.clone(), content(volume)?)))
        .collect()
}

fn content(volume: &Volume) -> Result<Content, VolumeError> {
    let unplayed = || VolumeError::Unplayed(volume.name.clone());
    if let Some(dir) = &volume.empty_dir {
        let memory = match dir.medium.as_deref() {
            None | Some("") => false,
            Some("Memory") => true,
            Some(_) => return Err(unplayed()),
        };
        let size = dir.size_limit.as_ref().map(|limit| limit.0.clone());
        return Ok(Content::EmptyDir { memory, size });
    }
    if let Some(host) = &volume.host_path {
        let kind = host.type_.clone().unwrap_or_default();
        return Ok(Content::HostPath {
            path: host.path.clone(),
            kind,
        });
    }
    if let Some(map) = &volume.config_map {
        return Ok(Content::Files(vec![Source::Object {
            kind: Kind::ConfigMap,
            name: map.name.clone(),
            items: map.items.clone(),
            optional: map.optional == Some(true),
            mode: map.default_mode.unwrap_or(DEFAULT_MODE),
        }]));
    }
    if let Some(secret) = &volume.secret {
        return Ok(Content::Files(vec![Source::Object {
            kind: Kind::Secret,
            name: secret.secret_name.clone().unwrap_or_default(),
            items: secret.items.clone(),
            optional: secret.optional == Some(true),
            mode: secret.default_mode.unwrap_or(DEFAULT_MODE),
        }]));
    }
    if let Some(downward) = &volume.downward_api {
        let items = downward.items.clone().unwrap_or_default();
        let mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
        return Ok(Content::Files(vec![Source::Downward { items, mode }]));
    }
    let projected = volume.projected.as_ref().ok_or_else(unplayed)?;
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    let sources = projected.sources.iter().flatten().map(|source| {
        if let Some(map) = &source.config_map {
            Ok(Source::Object {
                kind: Kind::ConfigMap,
                name: map.name.clone(),
                items: map.items.clone(),
                optional: map.optional == Some(true),
                mode,
            })
        } else if let Some(secret) = &source.secret {
            Ok(Source::Object {
                kind: Kind::Secret,
                name: secret.name.clone(),
                items: secret.items.clone(),
                optional: secret.optional == Some(true),
                mode,
            })
        } else if let Some(downward) = &source.downward_api {
            let items = downward.items.clone().unwrap_or_default();
            Ok(Source::Downward { items, mode })
        } else if let Some(projection) = &source.service_account_token {
            Ok(Source::Token {
                projection: projection.clone(),
                mode,
            })
        } else {
            Err(unplayed())
        }
    });
    sources.collect::<Result<_, _>>().map(Content::Files)
}

/// The tokens a Pod's volumes ask for.
pub(crate) fn tokens(
    volumes: &BTreeMap<String, Content>,
) -> impl Iterator<Item = &ServiceAccountTokenProjection> {
    let sources = volumes.values().filter_map(|content| match content {
        Content::Files(sources) => Some(sources),
        Content::EmptyDir { .. } | Content::HostPath { .. } => None,
    });
    sources.flatten().filter_map(|source| match source {
        Source::Token { projection, .. } => Some(projection),
        Source::Object { .. } | Source::Downward { .. } => None,
    })
}

/// What the files of a volume are made from.
pub(crate) struct Material<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) addresses: &'a Addresses,
    pub(crate) objects: &'a Objects,
    /// By audience; the default audience is the empty one.
    pub(crate) tokens: &'a BTreeMap<String, String>,
}

/// The files of a volume by path.
pub(crate) fn files(
    sources: &[Source],
    material: &Material<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let mut files = BTreeMap::new();
    for source in sources {
        match source {
            Source::Object {
                kind,
                name,
                items,
                optional,
                mode,
            } => {
                let Some(keys) = material.objects.get(&(*kind, name.clone())) else {
                    if *optional {
                        continue;
                    }
                    return Err(VolumeError::NoObject {
                        kind: *kind,
                        name: name.clone(),
                    });
                };
                let all = keys.keys().map(|key| (key.clone(), key.clone(), None));
                let chosen: Vec<(String, String, Option<i32>)> = match items {
                    None => all.collect(),
                    Some(items) => items
                        .iter()
                        .map(|i| (i.key.clone(), i.path.clone(), i.mode))
                        .collect(),
                };
                for (key, path, own) in chosen {
                    match keys.get(&key) {
                        Some(content) => {
                            put(
                                &mut files,
                                &path,
                                content.clone(),
                                own.unwrap_or(*mode),
                                false,
                            )?;
                        }
                        None if *optional => {}
                        None => {
                            return Err(VolumeError::NoKey {
                                kind: *kind,
                                name: name.clone(),
                                key,
                            });
                        }
                    }
                }
            }
            Source::Downward { items, mode } => {
                for item in items {
                    let Some(field) = &item.field_ref else {
                        return Err(env::EnvError::Unplayed("resourceFieldRef".into()).into());
                    };
                    let text = env::downward(&field.field_path, material.pod, material.addresses)?;
                    let mode = item.mode.unwrap_or(*mode);
                    put(&mut files, &item.path, text.into_bytes(), mode, false)?;
                }
            }
            Source::Token { projection, mode } => {
                let audience = projection.audience.clone().unwrap_or_default();
                let token = material.tokens.get(&audience);
                let token = token.ok_or(VolumeError::NoToken(audience))?;
                put(
                    &mut files,
                    &projection.path,
                    token.clone().into_bytes(),
                    *mode,
                    true,
                )?;
            }
        }
    }
    Ok(files)
}

fn put(
    files: &mut BTreeMap<String, File>,
    path: &str,
    content: Vec<u8>,
    mode: i32,
    private: bool,
) -> Result<(), VolumeError> {
    if !inside(path) {
        return Err(VolumeError::Path(path.to_owned()));
    }
    let mode = u32::try_from(mode).unwrap_or(0o644) & 0o777;
    files.insert(
        path.to_owned(),
        File {
            content,
            mode,
            private,
        },
    );
    Ok(())
}

/// Whether a relative path stays where it is joined.
pub(crate) fn inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path
            .split('/')
            .any(|part| part.is_empty() || part == "." || part.starts_with(".."))
}

#[cfg(test)]
mod tests;
