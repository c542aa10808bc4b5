//! The keys of the cluster, as files of a mounted Secret: one key a file, the last by name the newest.
//!
//! A Secret reaches nodes up to a minute and a half apart. So a key that appears is believed at once, and signed with only
//! when every live session says that it believes it too; one that disappears is forgotten at once. Where the last of them
//! disappears, or the files cannot be used, what was believed before stays in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use landfall_runtime::call::Failure;
use landfall_wire::peers::{ClusterId, KeyError, KeyId, KeyRing};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Command, Peers, View};
use crate::brain::Input;
use crate::identity::cluster_uid;

/// Between two looks at the files.
const AGAIN: Duration = Duration::from_secs(2);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The directory cannot be read.
    #[error("{}: {error}", directory.display())]
    Unreadable {
        directory: PathBuf,
        error: std::io::Error,
    },
    /// What is there is no use.
    #[error("{}: {error}", directory.display())]
    Useless { directory: PathBuf, error: KeyError },
    /// Nobody said which cluster this is.
    #[error("reading the namespace kube-system, by whose uid clusters differ: {0}")]
    Cluster(Failure),
}

/// Where the keys are.
#[derive(Clone, Debug)]
pub struct KeyFiles(PathBuf);

impl KeyFiles {
    /// The files of this directory are keys.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Reads them.
    ///
    /// # Errors
    /// When there are none, or one is unfit.
    pub fn read(&self) -> Result<KeyRing, KeysError> {
        let mut keys = self.files().map_err(|error| KeysError::Unreadable {
            directory: self.0.clone(),
            error,
        })?;
        keys.sort();
        let newest_first = keys.iter().rev().map(|(_, key)| key.as_slice());
        KeyRing::new(newest_first).map_err(|error| KeysError::Useless {
            directory: self.0.clone(),
            error,
        })
    }

    /// Of a mounted Secret every key is a link; what begins with two dots is how it is replaced as a whole.
    fn files(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_file() {
                keys.push((name, std::fs::read(entry.path())?));
            }
        }
        Ok(keys)
    }
}

/// Has the thread believe the keys that are there, as they come and go, until the token is cancelled.
pub async fn follow(
    files: KeyFiles,
    client: Client,
    peers: Peers,
    view: View,
    inputs: mpsc::Sender<Input>,
    ring: watch::Sender<Option<Arc<(ClusterId, KeyRing)>>>,
    token: CancellationToken,
) {
    let mut cluster = None;
    let mut known: Vec<KeyId> = Vec::new();
    loop {
        let problem = match look(&files, &client, &mut cluster).await {
            Ok((cluster, keys)) if keys.accepted().ne(known.iter().copied()) => {
                known = keys.accepted().collect();
                tracing::info!(keys = ?known, "keys of the heartbeats");
                ring.send_replace(Some(Arc::new((cluster, keys.clone()))));
                peers.tell([Command::Keys(cluster, Box::new(keys))]);
                // The agent being gone, nobody needs to know.
                let _ = inputs.send(Input::Keys(known.clone())).await;
                None
            }
            Ok(_) => None,
            Err(error) if known.is_empty() => Some(format!(
                "no heartbeats, and a node's death is noticed only when its session ends: {error}"
            )),
            Err(error) => Some(format!("the keys stay as they were: {error}")),
        };
        view.show_keys(problem);
        if token
            .run_until_cancelled(tokio::time::sleep(AGAIN))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn look(
    files: &KeyFiles,
    client: &Client,
    known: &mut Option<ClusterId>,
) -> Result<(ClusterId, KeyRing), KeysError> {
    let ring = files.read()?;
    let cluster = match *known {
        Some(cluster) => cluster,
        None => {
            let uid = cluster_uid(client).await.map_err(KeysError::Cluster)?;
            *known.insert(ClusterId::of(&uid.unwrap_or_default()))
        }
    };
    Ok((cluster, ring))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_key_and_the_last_by_name_is_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(directory.path());
        assert!(files.read().is_err(), "none yet");
        std::fs::write(directory.path().join("0001"), [1; 32]).unwrap();
        let first = files.read().unwrap();
        std::fs::write(directory.path().join("0002"), [2; 32]).unwrap();
        std::fs::create_dir(directory.path().join("..data")).unwrap();
        let both: Vec<KeyId> = files.read().unwrap().accepted().collect();
        assert_eq!(both.len(), 2);
        assert_eq!(both.last().copied(), first.accepted().next());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let files = KeyFiles::new(Path::new("/nowhere/peers"));
        let said = files.read().unwrap_err().to_string();
        assert!(said.starts_with("/nowhere/peers: "), "{said}");
    }
}
