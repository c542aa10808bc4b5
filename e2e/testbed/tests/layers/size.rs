//! How long a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::rooms::relative;
use super::source::Source;
use super::table::Violation;

/// Lines of a file without its tests.
pub(crate) const WITHOUT_TESTS: usize = 500;
/// Lines of a file.
pub(crate) const WITH_TESTS: usize = 600;

/// Files that people write; what they do not write is as long as it is.
const WRITTEN: &[&str] = &["rs", "sh", "py"];

/// Every Rust file and script below a folder that is too long. Files that no crate compiles into its library or programs
/// are tests or benches.
pub(crate) fn too_long(tree: &Path, sources: &[Source]) -> Vec<Violation> {
    let product: BTreeMap<&Path, &Source> = sources
        .iter()
        .filter(|source| !source.test)
        .map(|source| (source.file.as_path(), source))
        .collect();
    let mut found = Vec::new();
    for file in files(tree) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        let without = product
            .get(file.as_path())
            .map_or(0, |source| source.lines - source.test_lines);
        let (count, bar, which) = if without > WITHOUT_TESTS {
            (without, WITHOUT_TESTS, " without its tests")
        } else {
            (lines, WITH_TESTS, "")
        };
        if count > bar {
            found.push(Violation {
                file: relative(&file, tree),
                line: bar + 1,
                what: format!("{count} lines{which}, and {bar} are the most"),
                remedy: "give each of its concepts a file".to_owned(),
            });
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                all.extend(files(&path));
            }
        } else if path
            .extension()
            .is_some_and(|extension| WRITTEN.iter().any(|written| extension == *written))
        {
            all.push(path);
        }
    }
    all.sort();
    all
}
