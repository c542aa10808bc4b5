//! The scenarios that install Landfall, run as `lab run` runs them, all in one lab.
//!
//! In a binary of its own, so that its lab is not up beside that of the other scenarios.

use std::path::Path;
use std::process::Command;

use landfall_e2e::control_plane::assets;
use landfall_e2e::lab::preflight;

const SCENARIOS: &[&str] = &["answering.yaml"];

/// Programs of the workspace that the lab finds beside its own.
const PROGRAMS: &[&str] = &["landfall-controller", "landfall-announcer"];

/// Why they cannot be run here, if they cannot.
fn obstacle(lab: &Path) -> Option<String> {
    if let Some(lack) = preflight::lacks().first() {
        return Some(format!("{}: {}", lack.what, lack.remedy));
    }
    if assets::find(assets::ALL).is_none() {
        return Some("the control plane: hack/control-plane.sh".into());
    }
    PROGRAMS
        .iter()
        .find(|program| !lab.with_file_name(program).exists())
        .map(|program| format!("{program}: cargo build --workspace --bins"))
}

#[test]
fn the_scenarios_of_landfall_hold() {
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    if let Some(obstacle) = obstacle(lab) {
        eprintln!("SKIPPED (needs {obstacle}): the_scenarios_of_landfall_hold");
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = Command::new(lab)
        .args(["run", "--together"])
        .args(SCENARIOS.iter().map(|name| dir.join(name)))
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
