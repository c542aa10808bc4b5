//! The alerts and the dashboard, against promtool and against the metrics that there are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|found| found[1].to_owned()).collect()
}

/// Without what the Prometheus operator wraps them in: what promtool and a plain Prometheus read.
fn rules() -> String {
    let wrapped = text("config/monitoring/rules.yaml");
    let (_, rules) = wrapped.split_once("\nspec:\n").unwrap();
    rules
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect()
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let tests = text("config/monitoring/tests.yaml");
    let alerts = all(r"- alert: (\w+)", &rules());
    assert!(!alerts.is_empty());
    assert_eq!(
        alerts,
        all(r"alertname: (\w+)", &tests),
        "an alert without a test"
    );
    if landfall_testbed::missing(&["promtool"]).is_some() {
        let test = "every_alert_fires_when_it_should_and_only_then";
        landfall_testbed::skipped(test, "promtool: hack/setup.sh lab");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yml"), rules()).unwrap();
    fs::write(folder.path().join("tests.yaml"), tests).unwrap();
    let output = Command::new("promtool")
        .args(["test", "rules", "tests.yaml"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let metric = r"\b((?:landfall|process)_[a-z_]+)";
    let documented = all(
        &format!(r"(?m)^\| `{}`", &metric[2..]),
        &text("docs/reference/metrics.md"),
    );
    let queries = all(r"(?s)expr: (.*?)\n +(?:for|labels):", &rules());
    let panels = all(
        r#""expr": "(.*?)",?\n"#,
        &text("config/monitoring/dashboard.json"),
    );
    let asked: BTreeSet<String> = queries
        .iter()
        .chain(&panels)
        .flat_map(|query| all(metric, query))
        .collect();
    assert!(asked.len() > 20, "{asked:?}");
    let is_known = |name: &String| {
        let parts = ["_bucket", "_count", "_sum"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        documented.contains(name) || base.is_some_and(|base| documented.contains(base))
    };
    let unknown: Vec<_> = asked.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
