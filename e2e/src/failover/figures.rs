//! Figures: a distribution as one line of a table and one object of a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// A distribution; `value` is its median.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    n: usize,
    min: f64,
    median: f64,
    p99: f64,
    max: f64,
    method: String,
}

impl Figure {
    /// Of durations, in milliseconds; nothing of none.
    pub(super) fn milliseconds(name: String, samples: &[Duration], method: &str) -> Option<Self> {
        let values = samples.iter().map(|sample| sample.as_secs_f64() * 1e3);
        Self::of(name, "ms", values.collect(), method)
    }

    /// Of counts; nothing of none.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub(super) fn counts(
        name: String,
        unit: &'static str,
        samples: &[usize],
        method: &str,
    ) -> Option<Self> {
        let values = samples.iter().map(|sample| *sample as f64);
        Self::of(name, unit, values.collect(), method)
    }

    fn of(name: String, unit: &'static str, mut values: Vec<f64>, method: &str) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = rank(&values, 50);
        Some(Self {
            name,
            value: median,
            unit,
            n: values.len(),
            min,
            median,
            p99: rank(&values, 99),
            max,
            method: method.to_owned(),
        })
    }
}

/// The smallest value that so many in a hundred do not exceed.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

/// Prints them as a table.
pub(super) fn print(figures: &[Figure]) {
    println!(
        "{:<44} {:>4} {:>10} {:>10} {:>10} {:>10}  unit",
        "figure", "n", "min", "p50", "p99", "max"
    );
    for figure in figures {
        println!(
            "{:<44} {:>4} {:>10.1} {:>10.1} {:>10.1} {:>10.1}  {}",
            figure.name, figure.n, figure.min, figure.median, figure.p99, figure.max, figure.unit
        );
    }
}

/// Writes them to a file of the figures' folder.
pub(super) fn write(figures: &[Figure], path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let hundred: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let figure = Figure::milliseconds("x".into(), &hundred, "").unwrap();
        assert_eq!((figure.median, figure.p99, figure.max), (50.0, 99.0, 100.0));
        let few = Figure::counts("x".into(), "probes", &[3, 1, 2], "").unwrap();
        assert_eq!((few.min, few.value, few.p99), (1.0, 2.0, 3.0));
        assert_eq!(Figure::counts("x".into(), "probes", &[], ""), None);
    }
}
