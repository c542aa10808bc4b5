//! Where the control plane's programs are: a directory given by `KUBEBUILDER_ASSETS`, or the cache that
//! `hack/control-plane.sh` fills.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The programs that an API server alone needs.
pub const API: &[&str] = &["etcd", "kube-apiserver", "kubectl"];

/// The programs of a whole cluster.
pub const ALL: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
];

/// The root of the source tree this crate was built from.
pub fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory that holds the wanted programs, if it is there already; builds nothing, so that a test can skip.
pub fn find(wanted: &[&str]) -> Option<PathBuf> {
    let holds = |dir: &Path| wanted.iter().all(|program| dir.join(program).is_file());
    if let Some(dir) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
        && holds(&dir)
    {
        return Some(dir);
    }
    let builds = std::fs::read_dir(cache()?.join("control-plane")).ok()?;
    // The newest complete build; the script decides by its key, a test takes what there is.
    builds
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| {
            !dir.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
                && holds(dir)
        })
        .max_by_key(|dir| dir.metadata().and_then(|meta| meta.modified()).ok())
}

/// Where the scripts of `hack` keep what they fetch and build.
fn cache() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("landfall"))
}

/// The directory that holds the definitions of the Gateway API, if it is there already: the one that
/// `LANDFALL_GATEWAY_API` names, or what `hack/gateway-api.sh` fetched of the release that is pinned.
pub fn gateway_api() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("LANDFALL_GATEWAY_API") {
        return Some(dir.into());
    }
    let pinned = std::fs::read_to_string(source_tree().join("e2e/gateway-api/go.mod")).ok()?;
    let mut lines = pinned.lines();
    let version = lines.find_map(|line| line.strip_prefix("require sigs.k8s.io/gateway-api "))?;
    let dir = cache()?.join(format!("gateway-api-{}", version.trim()));
    dir.is_dir().then_some(dir)
}

/// The same, fetched now if it has to be.
pub fn ensure_gateway_api() -> Result<PathBuf> {
    script("hack/gateway-api.sh", &[])
}

/// The directory that holds every program, built now if it has to be (progress goes to standard error).
pub fn ensure() -> Result<PathBuf> {
    script("hack/control-plane.sh", &[])
}

/// A root directory of containerd with the lab's images in it, made of the programs in a directory, now if it has to be;
/// with images of other programs, by the names that `hack/go-program.sh` knows.
pub fn images<'a>(programs: &'a Path, others: impl Iterator<Item = &'a str>) -> Result<PathBuf> {
    let others = others.map(|name| -> &Path { name.as_ref() });
    let args: Vec<&Path> = std::iter::once(programs).chain(others).collect();
    script("hack/lab-images.sh", &args)
}

fn script(name: &str, args: &[&Path]) -> Result<PathBuf> {
    let path = source_tree().join(name);
    let output = Command::new(&path)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", path.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{name} failed ({}); it says why above",
        output.status
    );
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("reading what {name} printed"))?;
    let line = text
        .lines()
        .last()
        .with_context(|| format!("{name} printed no path"))?;
    Ok(PathBuf::from(line.trim()))
}
