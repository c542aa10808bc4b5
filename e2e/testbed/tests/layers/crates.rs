//! The crates of the tree as their manifests have them, and what the table says of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::rooms::relative;
use super::source::Source;
use super::table::{Table, Violation};

/// Manifests that are no members of the workspace.
const PROJECTS: &[&str] = &[
    "Cargo.toml",
    "announcer/fuzz/Cargo.toml",
    "bpf-lb/ebpf/Cargo.toml",
    "bpf-lb/fuzz/Cargo.toml",
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate of ours.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
    optional: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

/// Every crate of the tree.
pub(crate) fn all(tree: &Path) -> Vec<Package> {
    PROJECTS
        .iter()
        .flat_map(|manifest| {
            let output = Command::new(env!("CARGO"))
                .args([
                    "metadata",
                    "--no-deps",
                    "--offline",
                    "--format-version=1",
                    "--manifest-path",
                ])
                .arg(tree.join(manifest))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "cargo metadata of {manifest}: {said}"
            );
            serde_json::from_slice::<Metadata>(&output.stdout)
                .unwrap()
                .packages
        })
        .collect()
}

impl Package {
    /// The file its library, or else its first program, begins with.
    pub(crate) fn root(&self) -> &Path {
        let of = |wanted: &str| {
            self.targets
                .iter()
                .find(|target| target.kind.iter().any(|kind| kind == wanted))
        };
        let target = of("lib").or_else(|| of("rlib")).or_else(|| of("bin"));
        &target
            .unwrap_or_else(|| panic!("{} has neither a library nor a program", self.name))
            .src_path
    }
}

/// What manifests say that the table does not allow.
pub(crate) fn disallowed(packages: &[Package], table: &Table, tree: &Path) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let file = relative(&package.manifest_path, tree);
        let say = |what: String, remedy: &str| Violation {
            file: file.clone(),
            line: 1,
            what,
            remedy: remedy.to_owned(),
        };
        let Some(rule) = table.crates.get(&package.name) else {
            found.push(say(
                format!("the crate {} is not in the table of layers", package.name),
                "add it with the crates it may stand on to e2e/testbed/tests/layers/layers.yaml",
            ));
            continue;
        };
        if tree.join(&rule.path).join("Cargo.toml") != package.manifest_path {
            found.push(say(
                format!(
                    "the table of layers looks for {} in {}",
                    package.name, rule.path
                ),
                "say where it is in e2e/testbed/tests/layers/layers.yaml",
            ));
        }
        for dependency in &package.dependencies {
            let (name, tests) = (&dependency.name, dependency.kind.as_deref() == Some("dev"));
            let ours = dependency.path.is_some();
            if ours && !rule.may.contains(name) && !(tests && rule.tests.contains(name)) {
                found.push(say(
                    format!("{} must not stand on {name}", package.name),
                    "move what it needs to a crate below both, or say in e2e/testbed/tests/layers/layers.yaml why it may",
                ));
            }
            if rule.pure && !tests && !dependency.optional && table.impure.crates.contains(name) {
                found.push(say(
                    format!("{} is pure and must not depend on {name}", package.name),
                    "let it take and return values, and call it from a crate that has clients and clocks",
                ));
            }
        }
    }
    found
}

/// What a pure crate names that it must not.
pub(crate) fn impure(sources: &[Source], table: &Table, tree: &Path) -> Vec<Violation> {
    let wanted: BTreeMap<&str, Vec<&str>> = table
        .impure
        .paths
        .iter()
        .map(|path| (path.as_str(), path.split("::").collect()))
        .collect();
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.test) {
        for (path, line) in &source.names {
            // `core` and `alloc` have none of it.
            let names = |begin: &[&str]| {
                path.len() >= begin.len() && path.iter().zip(begin).all(|(a, b)| a == b)
            };
            if let Some(name) = wanted
                .iter()
                .find(|(_, begin)| names(begin))
                .map(|(name, _)| *name)
            {
                found.push(Violation {
                    file: relative(&source.file, tree),
                    line: *line,
                    what: format!("a pure crate names {name}"),
                    remedy: "take the time, the bytes or the answer as an argument".to_owned(),
                });
            }
        }
    }
    found
}
