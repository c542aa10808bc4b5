//! Named checks behind `/readyz`: who is not ready yet, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

/// The checks of one process; clones share them. Ready when every check that was named is.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
}

#[derive(Clone, Debug)]
struct Check {
    ready: bool,
    detail: String,
}

impl Readiness {
    /// Checks that all begin not ready, with the detail `starting`.
    #[must_use]
    pub fn waiting_for(checks: &[&'static str]) -> Self {
        let readiness = Self::default();
        for check in checks {
            readiness.not_ready(check, "starting");
        }
        readiness
    }

    /// Marks a check as ready.
    pub fn ready(&self, check: &'static str) {
        self.put(check, true, String::new());
    }

    /// Marks a check as ready all the same, with what a person should know: it does without something.
    pub fn ready_without(&self, check: &'static str, detail: impl Into<String>) {
        self.put(check, true, detail.into());
    }

    /// Marks a check as not ready, with what a person should know.
    pub fn not_ready(&self, check: &'static str, detail: impl Into<String>) {
        self.put(check, false, detail.into());
    }

    fn put(&self, check: &'static str, ready: bool, detail: String) {
        self.checks.lock().insert(check, Check { ready, detail });
    }

    /// Whether all checks are ready, and one line a check: `[+]name ok`, `[+]name ok, but: detail`, `[-]name: detail`.
    #[must_use]
    pub fn report(&self) -> (bool, String) {
        let checks = self.checks.lock();
        let mut text = String::new();
        for (name, Check { ready, detail }) in checks.iter() {
            // Writing to a String cannot fail.
            let _ = match (ready, detail.as_str()) {
                (true, "") => writeln!(text, "[+]{name} ok"),
                (true, detail) => writeln!(text, "[+]{name} ok, but: {detail}"),
                (false, detail) => writeln!(text, "[-]{name}: {detail}"),
            };
        }
        (checks.values().all(|check| check.ready), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_check_that_is_not_ready_makes_the_whole_not_ready() {
        let readiness = Readiness::waiting_for(&["caches", "session"]);
        readiness.ready("session");
        assert_eq!(
            readiness.report(),
            (false, "[-]caches: starting\n[+]session ok\n".to_owned())
        );
        readiness.ready("caches");
        assert!(readiness.report().0);
    }

    #[test]
    fn one_that_does_without_something_is_ready_and_says_so() {
        let readiness = Readiness::waiting_for(&["director"]);
        readiness.ready_without("director", "the kernel forwards");
        assert_eq!(
            readiness.report(),
            (
                true,
                "[+]director ok, but: the kernel forwards\n".to_owned()
            )
        );
    }
}
