//! Reading manifests from files, folders and what comes in.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::validate::{Document, Finding, read};

/// What kubectl takes for a manifest.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The documents of these files and folders, and a finding for each file that cannot be read as one.
///
/// # Errors
/// When a file is not there, or there is nothing to read in a folder.
pub(crate) fn documents(
    paths: &[PathBuf],
    recursive: bool,
) -> anyhow::Result<(Vec<Document>, Vec<Finding>)> {
    let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
    let mut take = |place: &str, text: &str| match read(place, text) {
        Ok(found) => documents.extend(found),
        Err(error) => unreadable.push(Finding::unreadable(place, error)),
    };
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("reading what comes in")?;
            take("-", &text);
            continue;
        }
        let mut files = Vec::new();
        below(path, recursive, true, &mut files)?;
        if files.is_empty() {
            anyhow::bail!(
                "{}: no file there ends in .yaml, .yml or .json; -R looks into the folders below too",
                path.display()
            );
        }
        for file in files {
            let text =
                fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            take(&file.display().to_string(), &text);
        }
    }
    Ok((documents, unreadable))
}

fn below(
    path: &Path,
    recursive: bool,
    named: bool,
    files: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    if !metadata.is_dir() {
        let ending = path.extension().and_then(|ending| ending.to_str());
        // A file that is named is meant, whatever it is called.
        if named || ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        if recursive || !path.is_dir() {
            below(&path, recursive, false, files)?;
        }
    }
    Ok(())
}
