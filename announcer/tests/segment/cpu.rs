//! The threads of a namespace, and what they have cost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time each thread in the caller's network namespace, the responder's all among them, has spent on a processor.
pub(crate) struct Cpu(BTreeMap<PathBuf, Duration>);

impl Cpu {
    /// So far.
    pub(crate) fn now() -> Self {
        let spent = threads().filter_map(|thread| Some((spent(&thread)?, thread)));
        Self(spent.map(|(spent, thread)| (thread, spent)).collect())
    }

    /// Since then, by the threads that are still there.
    pub(crate) fn elapsed(&self) -> Duration {
        let since = |(thread, now): (&PathBuf, &Duration)| {
            now.saturating_sub(self.0.get(thread).copied().unwrap_or_default())
        };
        Self::now().0.iter().map(since).sum()
    }
}

/// The names of the threads in the caller's network namespace, in their order.
pub(crate) fn thread_names() -> Vec<String> {
    let name = |thread: PathBuf| fs::read_to_string(thread.join("comm")).ok();
    let mut names: Vec<_> = threads()
        .filter_map(name)
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

fn threads() -> impl Iterator<Item = PathBuf> {
    let here = namespace(Path::new("/proc/thread-self"));
    let all = fs::read_dir("/proc/self/task").unwrap();
    all.map(|thread| thread.unwrap().path())
        .filter(move |thread| namespace(thread) == here)
}

/// `None` when the thread has just ended.
fn namespace(thread: &Path) -> Option<PathBuf> {
    fs::read_link(thread.join("ns/net")).ok()
}

fn spent(thread: &Path) -> Option<Duration> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    Some(Duration::from_nanos(
        text.split_whitespace().next()?.parse().ok()?,
    ))
}
