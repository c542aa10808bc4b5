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
    let mut spoilt = Vec::new();
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
            let place = file.display().to_string();
            match fs::read_to_string(&file) {
                Ok(text) => take(&place, &text),
                // One of many that cannot be read keeps nobody from looking at the others.
                Err(error) => spoilt.push(Finding::unreadable(&place, error.to_string())),
            }
        }
    }
    unreadable.append(&mut spoilt);
    anyhow::ensure!(
        !documents.is_empty() || !unreadable.is_empty(),
        "there is no object in what was given: nothing was looked at"
    );
    Ok((documents, unreadable))
}

fn below(
    path: &Path,
    recursive: bool,
    named: bool,
    files: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    // What is named must be there; a link in a folder that leads nowhere is a file that cannot be read.
    let is_folder = match fs::metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(_) if !named => false,
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    if !is_folder {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_that_cannot_be_read_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let pool =
            "apiVersion: landfall.dev/v1alpha1\nkind: LoadBalancerIPPool\nmetadata: {name: p}\n";
        fs::write(folder.path().join("good.yaml"), pool).unwrap();
        fs::write(folder.path().join("latin.yaml"), b"a: \xe9").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link.yaml")).unwrap();
        let (found, unreadable) = documents(&[folder.path().to_owned()], false).unwrap();
        assert_eq!((found.len(), unreadable.len()), (1, 2));
    }

    #[test]
    fn where_there_is_no_object_nothing_was_found_right() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.yaml");
        fs::write(&file, "# nothing\n").unwrap();
        let error = documents(&[file], false).unwrap_err();
        assert!(error.to_string().contains("no object"), "{error}");
    }
}
