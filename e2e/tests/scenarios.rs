//! The scenarios of the lab itself, run as `lab run` runs them, all in one lab.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use landfall_e2e::lab::preflight;
use landfall_testbed::control_plane::assets;

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

/// Runs scenarios as `lab run` does; one lab at a time, because two share the cores and are slow.
fn hold(test: &str, arguments: &[&str], scenarios: &[&str]) {
    static ONE_LAB: Mutex<()> = Mutex::new(());
    if let Some(obstacle) = obstacle() {
        landfall_testbed::skipped(test, &obstacle);
        return;
    }
    let _one = ONE_LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("run")
        .args(arguments)
        .args(scenarios.iter().map(|name| dir.join(name)))
        .env_remove("KEEP")
        .output()
        .expect("lab was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    // First what did not hold: of a long text whoever reports it may keep the beginning alone.
    let broke: Vec<&str> = said.lines().filter(|line| line.contains('✗')).collect();
    assert!(
        output.status.success(),
        "{}\n{}\n{said}",
        broke.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_scenarios_of_the_lab_hold() {
    hold("the_scenarios_of_the_lab_hold", &["--together"], OF_THE_LAB);
}

/// The same with Landfall, whose programs are other crates'.
fn hold_with_landfall(test: &str, arguments: &[&str], scenarios: &[&str]) {
    let built = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("landfall-announcer");
    if !built.exists() {
        landfall_testbed::skipped(test, "cargo build --workspace --bins");
        return;
    }
    hold(test, arguments, scenarios);
}

#[test]
fn the_demo_holds() {
    hold_with_landfall("the_demo_holds", &[], &["demo.yaml"]);
}

#[test]
fn landfall_runs_from_its_images_on_real_nodes() {
    hold_with_landfall(
        "landfall_runs_from_its_images_on_real_nodes",
        &[],
        &["real-nodes.yaml"],
    );
}

/// VXLAN, a bridge and iptables, where the other tests have routes and nftables.
#[test]
fn the_main_scenarios_hold_over_flannel_and_iptables() {
    let test = "the_main_scenarios_hold_over_flannel_and_iptables";
    if landfall_testbed::missing(&["iptables"]).is_some() {
        landfall_testbed::skipped(test, "iptables: hack/setup.sh cni");
        return;
    }
    hold_with_landfall(
        test,
        &["--cni=flannel", "--proxy=iptables"],
        &["demo.yaml", "connections.yaml"],
    );
}

#[test]
fn prometheus_sees_what_the_dashboard_and_the_alerts_ask_for() {
    let test = "prometheus_sees_what_the_dashboard_and_the_alerts_ask_for";
    if landfall_testbed::missing(&["prometheus", "promtool"]).is_some() {
        landfall_testbed::skipped(test, "prometheus: hack/setup.sh lab");
        return;
    }
    hold_with_landfall(test, &[], &["monitoring.yaml"]);
}

#[test]
fn answering_to_foreign_peers_holds() {
    hold_with_landfall("answering_to_foreign_peers_holds", &[], &["answering.yaml"]);
}

#[test]
fn a_planned_move_loses_no_question() {
    hold_with_landfall(
        "a_planned_move_loses_no_question",
        &[],
        &["planned-moves.yaml"],
    );
}

#[test]
fn connections_live_as_long_as_their_pod() {
    hold_with_landfall(
        "connections_live_as_long_as_their_pod",
        &[],
        &["connections.yaml"],
    );
}

#[test]
fn rolling_updates_lose_no_connection() {
    hold_with_landfall(
        "rolling_updates_lose_no_connection",
        &[],
        &["rolling-update.yaml"],
    );
}

#[test]
fn rolling_updates_lose_no_connection_while_announcers_die() {
    hold_with_landfall(
        "rolling_updates_lose_no_connection_while_announcers_die",
        &[],
        &["connections-churn.yaml"],
    );
}

#[test]
fn turning_xdp_on_and_off_loses_no_connection() {
    hold_with_landfall(
        "turning_xdp_on_and_off_loses_no_connection",
        &[],
        &["switch-path.yaml"],
    );
}

#[test]
fn an_envoy_that_drains_loses_no_connection() {
    hold_with_landfall(
        "an_envoy_that_drains_loses_no_connection",
        &[],
        &["envoy-drain.yaml"],
    );
}

#[test]
fn turning_the_directors_off_loses_no_connection() {
    hold_with_landfall(
        "turning_the_directors_off_loses_no_connection",
        &[],
        &["turn-off.yaml"],
    );
}

#[test]
fn a_stranger_on_the_segment_stops_nothing() {
    hold_with_landfall(
        "a_stranger_on_the_segment_stops_nothing",
        &[],
        &["stranger.yaml"],
    );
}

#[test]
fn a_tenant_gets_nothing_that_is_not_theirs() {
    hold_with_landfall(
        "a_tenant_gets_nothing_that_is_not_theirs",
        &[],
        &["tenant.yaml"],
    );
}

#[test]
fn a_gateway_of_a_class_of_landfall_is_served() {
    hold_with_landfall(
        "a_gateway_of_a_class_of_landfall_is_served",
        &[],
        &["gateway.yaml"],
    );
}

#[test]
fn a_stolen_token_is_worth_one_nodes_word() {
    hold_with_landfall(
        "a_stolen_token_is_worth_one_nodes_word",
        &[],
        &["token.yaml"],
    );
}

#[test]
fn the_command_line_installs_and_leaves_nothing() {
    hold_with_landfall(
        "the_command_line_installs_and_leaves_nothing",
        &[],
        &["operating.yaml"],
    );
}

#[test]
fn the_connectivity_test_finds_what_is_broken_and_leaves_nothing() {
    hold_with_landfall(
        "the_connectivity_test_finds_what_is_broken_and_leaves_nothing",
        &[],
        &["connectivity-test.yaml"],
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

#[test]
fn new_connections_pass_a_silent_node_by() {
    hold_with_landfall(
        "new_connections_pass_a_silent_node_by",
        &[],
        &["silent-node.yaml"],
    );
}

#[test]
fn responses_find_their_way_through_a_link_narrower_than_any_that_their_pod_knows_of() {
    hold_with_landfall(
        "responses_find_their_way_through_a_link_narrower_than_any_that_their_pod_knows_of",
        &[],
        &["path-mtu.yaml"],
    );
}

#[test]
fn packets_are_seen_through_the_api_server_and_nothing_is_left_of_it() {
    hold_with_landfall(
        "packets_are_seen_through_the_api_server_and_nothing_is_left_of_it",
        &[],
        &["packets.yaml"],
    );
}
