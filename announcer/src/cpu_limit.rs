//! How much of the processors the kernel lets this process have. Whoever has used up a limit is not run at all until the
//! next period, whatever its priority: heartbeats of such a process are late.

use std::fs::read_to_string;
use std::path::Path;

const ROOT: &str = "/sys/fs/cgroup";

/// In processors: the tightest limit on the control group of this process, or on one that it is in and can see.
#[must_use]
pub(crate) fn read() -> Option<f64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    tightest(&groups, Path::new(ROOT))
}

/// `groups` is what the kernel says of a process, a line for each hierarchy: its number, its controllers, the group.
fn tightest(groups: &str, root: &Path) -> Option<f64> {
    let lines = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let is_v1 = controllers.split(',').any(|controller| controller == "cpu");
        let mounted = match (controllers, is_v1) {
            ("", _) => root.to_owned(),
            (_, true) => root.join("cpu"),
            _ => return None,
        };
        let group = mounted.join(group.trim_start_matches('/'));
        // A container may be told of a group by a name that it cannot see: what it sees then is its own, at the top.
        let all = group.ancestors().filter(|dir| dir.starts_with(&mounted));
        all.filter_map(limit_of).min_by(f64::total_cmp)
    });
    lines.min_by(f64::total_cmp)
}

fn limit_of(group: &Path) -> Option<f64> {
    let read = |file| read_to_string(group.join(file)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // `max`, and -1, are no limit.
    let quota: u32 = quota.trim().parse().ok()?;
    let period: u32 = period.trim().parse().ok().filter(|period| *period > 0)?;
    Some(f64::from(quota) / f64::from(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)], groups: &str) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        tightest(groups, root.path())
    }

    #[test]
    fn the_tightest_limit_up_the_groups_counts() {
        let files = [
            ("pods/cpu.max", "50000 100000\n"),
            ("pods/one/cpu.max", "max 100000\n"),
        ];
        assert_eq!(with(&files, "0::/pods/one\n"), Some(0.5));
        assert_eq!(with(&files[1..], "0::/pods/one\n"), None, "no limit");
        assert_eq!(with(&[], "0::/pods/one\n"), None);
    }

    #[test]
    fn a_container_that_sees_its_own_group_at_the_top_finds_its_limit_there() {
        let files = [("cpu.max", "200000 100000\n")];
        assert_eq!(with(&files, "0::/\n"), Some(2.0));
        assert_eq!(with(&files, "0::/../kubepods/pod1/c1\n"), Some(2.0));
    }

    #[test]
    fn limits_of_the_first_version_are_read_too() {
        let files = |quota| {
            [
                ("cpu/pod/cpu.cfs_quota_us", quota),
                ("cpu/pod/cpu.cfs_period_us", "100000\n"),
            ]
        };
        let groups = "5:memory:/pod\n4:cpu,cpuacct:/pod\n0::/\n";
        assert_eq!(with(&files("20000\n"), groups), Some(0.2));
        assert_eq!(with(&files("-1\n"), groups), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        for text in ["", "1\n", "1 0\n", "x y\n"] {
            assert_eq!(with(&[("cpu.max", text)], "0::/\n"), None, "{text:?}");
        }
        assert_eq!(with(&[("cpu.max", "1 2")], "nonsense"), None);
    }
}
