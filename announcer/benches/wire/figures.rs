//! The figures file: every sample reduced to its order statistics, and the table that is printed.

/// What has been measured so far.
#[derive(Default)]
pub(crate) struct Figures(Vec<serde_json::Value>);

impl Figures {
    /// Adds a figure; its value is the median, which is returned.
    pub(crate) fn add(&mut self, name: &str, unit: &str, method: &str, samples: Vec<f64>) -> f64 {
        let mut samples = samples;
        samples.sort_by(f64::total_cmp);
        let at = |share: usize| samples[(samples.len() - 1) * share / 100];
        let (min, median, p99, max) = (at(0), at(50), at(99), at(100));
        println!("{name:<66} {unit:<18} min {min:>10.2}  median {median:>10.2}  p99 {p99:>10.2}");
        self.0.push(serde_json::json!({
            "name": name, "value": median, "unit": unit, "n": samples.len(),
            "min": min, "median": median, "p99": p99, "max": max, "method": method,
        }));
        median
    }

    /// Adds a figure of which there is one.
    pub(crate) fn one(&mut self, name: &str, unit: &str, method: &str, value: f64) -> f64 {
        self.add(name, unit, method, vec![value])
    }

    /// Writes the file.
    pub(crate) fn write(&self, bench: &str) {
        let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
            std::path::PathBuf::from,
        );
        std::fs::create_dir_all(folder.join("figures")).unwrap();
        let text = serde_json::to_string_pretty(&self.0).unwrap();
        std::fs::write(
            folder.join(format!("figures/bench-{bench}.json")),
            text + "\n",
        )
        .unwrap();
    }
}
