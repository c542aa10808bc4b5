//! The manifest by which krew installs `kubectl landfall`, as the release makes it, against what krew asks of one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const PLACE: &str = "https://example.org/landfall/releases/download/v1.2.3";

fn krew(archives: &[PathBuf]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/krew.sh");
    Command::new(script)
        .args(["1.2.3", PLACE])
        .args(archives)
        .output()
        .unwrap()
}

/// An archive of the release with these files in it.
fn archive(folder: &Path, platform: &str, files: &[&str]) -> PathBuf {
    for file in files {
        std::fs::write(folder.join(file), platform).unwrap();
    }
    let path = folder.join(format!("landfall-1.2.3-{platform}.tar.gz"));
    let packed = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-czf")
        .arg(&path)
        .args(files)
        .status()
        .unwrap();
    assert!(packed.success());
    path
}

#[test]
fn the_manifest_has_what_krew_asks_of_one_and_the_sums_of_its_archives() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["kubectl-landfall", "landfall", "LICENSE"];
    let archives = ["linux-amd64", "darwin-arm64"].map(|of| archive(folder.path(), of, &files));
    let output = krew(&archives);
    assert!(output.status.success(), "{output:#?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();

    assert_eq!(
        manifest["apiVersion"],
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(manifest["kind"], "Plugin");
    // krew calls the program by the plugin's name: kubectl-NAME.
    assert_eq!(manifest["metadata"]["name"], "landfall");
    let spec = &manifest["spec"];
    let version = spec["version"].as_str().unwrap();
    semver::Version::parse(version.strip_prefix('v').unwrap()).unwrap();
    assert_eq!(spec["homepage"], "https://example.org/landfall");
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(!short.is_empty() && short.len() <= 50 && !short.ends_with('.'));
    assert!(
        spec["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );

    let platforms = spec["platforms"].as_array().unwrap();
    let named: Vec<_> = platforms
        .iter()
        .map(|platform| {
            let labels = &platform["selector"]["matchLabels"];
            (
                labels["os"].as_str().unwrap(),
                labels["arch"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(named, [("linux", "amd64"), ("darwin", "arm64")]);
    for (platform, archive) in platforms.iter().zip(&archives) {
        let file = archive.file_name().unwrap().to_str().unwrap();
        assert_eq!(platform["uri"], format!("{PLACE}/{file}"));
        let sum = Command::new("sha256sum").arg(archive).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(platform["sha256"].as_str(), sum.split(' ').next());
        assert_eq!(platform["bin"], "kubectl-landfall");
        let files = platform["files"].as_array().unwrap();
        let from: Vec<_> = files
            .iter()
            .map(|file| file["from"].as_str().unwrap())
            .collect();
        assert_eq!(from, ["kubectl-landfall", "LICENSE"]);
        assert!(files.iter().all(|file| file["to"] == "."));
    }
}

#[test]
fn an_archive_without_the_program_or_of_another_version_is_in_no_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let without = archive(folder.path(), "linux-amd64", &["LICENSE"]);
    let output = krew(&[without]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("has no kubectl-landfall"),
        "{said}"
    );
    let other = folder.path().join("landfall-1.2.2-linux-amd64.tar.gz");
    let output = krew(&[other]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("is no archive of version 1.2.3"),
        "{said}"
    );
}
