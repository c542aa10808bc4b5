//! The scenarios of the lab itself, run as `lab run` runs them, all in one lab.

use std::path::Path;
use std::process::Command;

use landfall_e2e::control_plane::assets;
use landfall_e2e::lab::preflight;

/// Those that need nothing but the lab; the last one leaves it a node short.
const OF_THE_LAB: &[&str] = &["links.yaml", "cluster.yaml", "power-cut.yaml"];

/// Why scenarios cannot be run here, if they cannot.
fn obstacle() -> Option<String> {
    if let Some(lack) = preflight::lacks().first() {
        return Some(format!("{}: {}", lack.what, lack.remedy));
    }
    if assets::find(assets::ALL).is_none() {
        return Some("the control plane: hack/control-plane.sh".into());
    }
    None
}

#[test]
fn the_scenarios_of_the_lab_hold() {
    if let Some(obstacle) = obstacle() {
        eprintln!("SKIPPED (needs {obstacle}): the_scenarios_of_the_lab_hold");
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["run", "--together"])
        .args(OF_THE_LAB.iter().map(|name| dir.join(name)))
        .env_remove("KEEP")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_scenario_file_is_understood() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(files.len() >= OF_THE_LAB.len());
    for file in files {
        if let Err(error) = landfall_e2e::scenario::Scenario::read(&file) {
            panic!("{error}");
        }
    }
}
