//! Puts the files of a volume on disk so that a reader sees all of the old ones or all of the new ones.
//!
//! A generation directory holds the files, the link `..data` names the present generation, and each top-level entry
//! is a link through `..data`. Replacing `..data` by rename is the only step a reader can notice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use super::volumes::File;

/// Who may read what a volume holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user all containers of the Pod run as, if it is one.
    pub(crate) user: Option<u32>,
    /// The Pod's fsGroup.
    pub(crate) group: Option<u32>,
}

const DATA: &str = "..data";

/// Writes a generation, unless the present one is equal. Returns whether it wrote.
pub(crate) fn write(
    dir: &Path,
    files: &BTreeMap<String, File>,
    owner: Owner,
    generation: u64,
) -> io::Result<bool> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if old.is_some() && equal(dir, files) {
        return Ok(false);
    }
    let name = format!("..{generation}");
    let target = dir.join(&name);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir(&target)?;
    for (path, file) in files {
        write_file(&target.join(path), file, owner)?;
    }
    let fresh = dir.join("..data_tmp");
    let _ = fs::remove_file(&fresh);
    symlink(&name, &fresh)?;
    fs::rename(&fresh, dir.join(DATA))?;
    link_entries(dir, files)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    Ok(true)
}

fn equal(dir: &Path, files: &BTreeMap<String, File>) -> bool {
    let data = dir.join(DATA);
    let same = |(path, file): (&String, &File)| {
        fs::read(data.join(path)).is_ok_and(|content| content == file.content)
    };
    tops(files) == present(dir) && files.iter().all(same) && count(&data) == files.len()
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                count(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn write_file(path: &Path, file: &File, owner: Owner) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let owned = owner.user.is_some() || owner.group.is_some();
    let mode = if file.private && owned {
        0o600
    } else {
        file.mode
    };
    let mode = if owner.group.is_some() {
        mode | ((mode & 0o600) >> 3)
    } else {
        mode
    };
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    out.write_all(&file.content)?;
    std::os::unix::fs::chown(path, owner.user.filter(|_| file.private), owner.group)?;
    out.set_permissions(fs::Permissions::from_mode(mode))
}

/// First parts of the paths.
fn tops(files: &BTreeMap<String, File>) -> BTreeSet<String> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    files.keys().map(first).collect()
}

/// Entries of the volume that a reader sees.
fn present(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with("..")).collect()
}

fn link_entries(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let wanted = tops(files);
    let present = present(dir);
    for name in wanted.difference(&present) {
        symlink(Path::new(DATA).join(name), dir.join(name))?;
    }
    for name in present.difference(&wanted) {
        fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File {
            content: text.into(),
            mode: 0o640,
            private: false,
        };
        pairs
            .iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    #[test]
    fn files_are_replaced_as_a_whole_and_only_when_they_change() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let read = |path: &str| fs::read_to_string(dir.join(path)).ok();
        let owner = Owner::default();
        assert!(write(dir, &files(&[("a", "1"), ("d/e", "2")]), owner, 1).unwrap());
        assert_eq!(
            (read("a"), read("d/e")),
            (Some("1".into()), Some("2".into()))
        );
        assert!(!write(dir, &files(&[("a", "1"), ("d/e", "2")]), owner, 2).unwrap());
        assert!(write(dir, &files(&[("a", "3")]), owner, 3).unwrap());
        assert_eq!((read("a"), read("d/e")), (Some("3".into()), None));
        assert!(!dir.join("..1").exists(), "the old generation is removed");
        assert_eq!(present(dir), BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn modes_are_those_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), &files(&[("a", "1")]), Owner::default(), 1).unwrap();
        let mode = fs::metadata(temp.path().join("a"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
