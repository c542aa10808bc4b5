//! What the agent writes down below its root, so that another process (itself after a crash, a shim, `clean`) can find
//! every Pod, container and namespace it made.
//!
//! ```text
//! ROOT/host/…                                  the node's hostPath volumes; sys/fs/bpf is a bpffs
//! ROOT/runc/                                   state of runc
//! ROOT/pods/<uid>/pod.json                     who, namespace, addresses
//! ROOT/pods/<uid>/{hosts,volumes/<name>/}
//! ROOT/pods/<uid>/containers/<name>/<attempt>/ bundle, shim.json, exit.json
//! ```

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use landfall_testbed::process::Stamp;

/// A node's root.
#[derive(Debug, Clone)]
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where a path of the node really is.
    pub(crate) fn host(&self, path: &str) -> PathBuf {
        self.0.join("host").join(path.trim_start_matches('/'))
    }

    pub(crate) fn runc(&self) -> PathBuf {
        self.0.join("runc")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    pub(crate) fn pod(&self, uid: &str) -> PodDir {
        PodDir(self.pods().join(uid))
    }

    /// Every Pod there is a record of.
    pub(crate) fn recorded(&self) -> Vec<(PodDir, PodRecord)> {
        let dirs = names(&self.pods()).into_iter().map(|uid| self.pod(&uid));
        dirs.filter_map(|dir| dir.record().map(|record| (dir, record)))
            .collect()
    }
}

/// A Pod's directory.
#[derive(Debug, Clone)]
pub(crate) struct PodDir(PathBuf);

impl PodDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn record(&self) -> Option<PodRecord> {
        read(&self.0.join("pod.json"))
    }

    pub(crate) fn write_record(&self, record: &PodRecord) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        write(&self.0.join("pod.json"), record)
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    pub(crate) fn bundle(&self, container: &str, attempt: u32) -> BundleDir {
        BundleDir(
            self.0
                .join("containers")
                .join(container)
                .join(attempt.to_string()),
        )
    }

    /// Attempts there are records of, oldest first.
    pub(crate) fn attempts(&self, container: &str) -> Vec<u32> {
        let dir = self.0.join("containers").join(container);
        let mut attempts: Vec<u32> = names(&dir).iter().filter_map(|n| n.parse().ok()).collect();
        attempts.sort_unstable();
        attempts
    }

    /// Containers there are records of.
    pub(crate) fn containers(&self) -> Vec<String> {
        names(&self.0.join("containers"))
    }
}

/// Who a Pod is and what was made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Its own network namespace and the node's end of its link, unless it lives in the node's.
    pub(crate) network: Option<NetworkRecord>,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Everything was made.
    pub(crate) ready: bool,
}

/// A Pod's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) netns: String,
    pub(crate) node_netns: String,
    pub(crate) link: String,
}

/// A container's bundle and records.
#[derive(Debug, Clone)]
pub(crate) struct BundleDir(PathBuf);

impl BundleDir {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.0.join("pid")
    }

    pub(crate) fn runc_log(&self) -> PathBuf {
        self.0.join("runc.log")
    }

    pub(crate) fn termination_log(&self) -> PathBuf {
        self.0.join("termination-log")
    }

    pub(crate) fn shim(&self) -> Option<ShimRecord> {
        read(&self.0.join("shim.json"))
    }

    pub(crate) fn write_shim(&self, record: &ShimRecord) -> io::Result<()> {
        write(&self.0.join("shim.json"), record)
    }

    pub(crate) fn exit(&self) -> Option<ExitRecord> {
        read(&self.0.join("exit.json"))
    }

    pub(crate) fn write_exit(&self, record: &ExitRecord) -> io::Result<()> {
        write(&self.0.join("exit.json"), record)
    }

    /// The process id runc wrote.
    pub(crate) fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

/// The parent of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    pub(crate) id: String,
    pub(crate) process: Stamp,
    pub(crate) started_at: Time,
}

/// How a container ended, or why it did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub(crate) code: i32,
    pub(crate) oom: bool,
    pub(crate) start_error: Option<String>,
    pub(crate) finished_at: Time,
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(value).map_err(io::Error::other)?)?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::at(temp.path());
        let record = PodRecord {
            namespace: "ns".into(),
            name: "p".into(),
            uid: "u".into(),
            network: None,
            addresses: vec!["fd00::2".parse().unwrap()],
            ready: true,
        };
        root.pod("u").write_record(&record).unwrap();
        assert_eq!(
            root.recorded()
                .into_iter()
                .map(|(_, r)| r)
                .collect::<Vec<_>>(),
            [record]
        );
    }
}
