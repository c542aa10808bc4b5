//! The checks, what became of each, and how that is written down. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;

use crate::args::Check;
use crate::out::End;
use crate::words::plain;

impl Check {
    /// What every other check stands on.
    pub(crate) fn is_ground(self) -> bool {
        self <= Self::Client
    }

    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn about(self) -> String {
        let value = self.to_possible_value();
        let help = value.and_then(|value| value.get_help().cloned());
        help.map_or_else(String::new, |help| help.to_string())
    }
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "says", rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl Outcome {
    pub(crate) fn passed(says: impl Into<String>) -> Self {
        Self::Passed(plain(&says.into()))
    }

    pub(crate) fn failed(says: impl Into<String>) -> Self {
        Self::Failed(plain(&says.into()))
    }

    pub(crate) fn skipped(says: impl Into<String>) -> Self {
        Self::Skipped(plain(&says.into()))
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Passed(says) => ("passed", says),
            Self::Failed(says) => ("FAILED", says),
            Self::Skipped(says) => ("SKIPPED", says),
        }
    }
}

/// One check that was come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    pub(crate) check: Check,
    pub(crate) about: String,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
}

/// The test, as far as it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The checks that were wanted, and those they stand on.
    #[serde(skip)]
    pub(crate) wanted: Vec<Check>,
    /// Those that were named.
    #[serde(skip)]
    named: BTreeSet<Check>,
    pub(crate) checks: Vec<Done>,
    /// Why it did not go on to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
}

impl Report {
    /// All checks, or those named and what they stand on.
    pub(crate) fn new(named: &[Check]) -> Self {
        let named: BTreeSet<Check> = named.iter().copied().collect();
        let wanted = Check::value_variants().iter().copied().filter(|check| {
            let last = named.last();
            last.is_none_or(|last| named.contains(check) || (check.is_ground() && check <= last))
        });
        Self {
            wanted: wanted.collect(),
            named,
            checks: Vec::new(),
            stopped: None,
        }
    }

    /// Adds what became of a check, and returns its line.
    pub(crate) fn add(&mut self, check: Check, outcome: Outcome, took: Duration) -> String {
        self.checks.push(Done {
            check,
            about: check.about(),
            outcome,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
        });
        self.line(self.checks.len())
    }

    /// It does not go on.
    pub(crate) fn stop(&mut self, why: &str) {
        self.stopped = Some(why.to_owned());
    }

    /// Well where nothing failed and what was asked for was tried: with names each of those, else anything of what a
    /// client sees.
    pub(crate) fn end(&self) -> End {
        let passed = |done: &Done| matches!(done.outcome, Outcome::Passed(_));
        let named = |done: &&Done| self.named.contains(&done.check);
        if self.checks.iter().any(|done| done.outcome.is_failed()) {
            return End::NotWell;
        }
        let tried = match self.named.is_empty() {
            true => self
                .checks
                .iter()
                .any(|done| !done.check.is_ground() && passed(done)),
            false => self.checks.iter().filter(named).all(passed),
        };
        match tried && self.stopped.is_none() {
            true => End::Well,
            false => End::Unknown,
        }
    }

    /// The line of the check with this number.
    fn line(&self, number: usize) -> String {
        let Some(done) = self.checks.get(number.wrapping_sub(1)) else {
            return String::new();
        };
        let (result, says) = done.outcome.parts();
        let name = done.check.name();
        format!(
            "[{number:>2}/{}] {name:<15} {result:<8}{:>6.1}s  {says}",
            self.wanted.len(),
            done.seconds
        )
    }

    pub(crate) fn draw(&self) -> String {
        let mut out = String::new();
        for number in 1..=self.checks.len() {
            let _ = writeln!(out, "{}", self.line(number));
        }
        out + &self.summary()
    }

    pub(crate) fn summary(&self) -> String {
        let count = |of: fn(&Outcome) -> bool| {
            let checks = self.checks.iter();
            checks.filter(|done| of(&done.outcome)).count()
        };
        let seconds: f64 = self.checks.iter().map(|done| done.seconds).sum();
        let mut out = format!(
            "{} checks: {} passed, {} failed, {} skipped in {seconds:.1}s\n",
            self.checks.len(),
            count(|outcome| matches!(outcome, Outcome::Passed(_))),
            count(Outcome::is_failed),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        );
        if let Some(why) = &self.stopped {
            let left = self.wanted.len().saturating_sub(self.checks.len());
            let _ = writeln!(out, "not tried: {left}: {why}");
        }
        out
    }

    /// As JUnit has it, for what runs tests.
    pub(crate) fn junit(&self) -> String {
        let failed = self.checks.iter().filter(|done| done.outcome.is_failed());
        let skipped = |done: &&Done| matches!(done.outcome, Outcome::Skipped(_));
        let skipped = self.checks.iter().filter(skipped);
        let seconds: f64 = self.checks.iter().map(|done| done.seconds).sum();
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"landfall connectivity test\" \
             tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"{}\" time=\"{seconds:.1}\">\n",
            self.checks.len() + usize::from(self.stopped.is_some()),
            failed.count(),
            skipped.count(),
            usize::from(self.stopped.is_some()),
        );
        for done in &self.checks {
            let name = done.check.name();
            let says = match &done.outcome {
                Outcome::Passed(says) => format!("<system-out>{}</system-out>", escaped(says)),
                Outcome::Failed(says) => format!("<failure message=\"{}\"/>", escaped(says)),
                Outcome::Skipped(says) => format!("<skipped message=\"{}\"/>", escaped(says)),
            };
            let _ = writeln!(
                out,
                "<testcase classname=\"landfall\" name=\"{name}\" time=\"{:.1}\">{says}</testcase>",
                done.seconds
            );
        }
        if let Some(why) = &self.stopped {
            let _ = writeln!(
                out,
                "<testcase classname=\"landfall\" name=\"end\"><error message=\"{}\"/></testcase>",
                escaped(why)
            );
        }
        out + "</testsuite>\n</testsuites>\n"
    }
}

/// For an attribute or a text of XML. Control characters, which XML cannot have, were escaped before.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(&[]);
        let second = Duration::from_millis(1_240);
        report.add(Check::Pools, Outcome::passed("2 accepted"), second);
        report.add(
            Check::Arp,
            Outcome::failed("02:00:00:00:00:07 answers <too> & \"loud\""),
            second,
        );
        report.add(Check::Ndp, Outcome::skipped("no IPv6 address"), second);
        report
    }

    #[test]
    fn every_check_is_a_line_and_the_last_line_counts_them() {
        insta::assert_snapshot!(report().draw());
    }

    #[test]
    fn junit_has_a_case_for_each_check_and_an_error_for_an_early_end() {
        let mut report = report();
        report.stop("interrupted");
        insta::assert_snapshot!(report.junit());
    }

    #[test]
    fn a_named_check_brings_those_it_stands_on_and_no_other() {
        let names = |named: &[Check]| {
            let wanted = Report::new(named).wanted;
            wanted.into_iter().map(Check::name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[Check::Pools]), ["installed", "pools"]);
        assert_eq!(names(&[Check::Tcp, Check::Restart]).len(), 8);
        assert_eq!(names(&[]).len(), Check::value_variants().len());
    }

    #[test]
    fn only_what_was_tried_and_passed_is_well() {
        let moment = Duration::ZERO;
        let mut report = Report::new(&[]);
        report.add(Check::Installed, Outcome::passed("runs"), moment);
        report.add(Check::Arp, Outcome::skipped("one node"), moment);
        assert_eq!(
            report.end(),
            End::Unknown,
            "nothing of a client's was tried"
        );
        report.add(Check::Tcp, Outcome::passed("answered"), moment);
        assert_eq!(report.end(), End::Well);
        let mut stopped = report.clone();
        stopped.stop("interrupted");
        assert_eq!(stopped.end(), End::Unknown);
        report.add(Check::Udp, Outcome::failed("none"), moment);
        assert_eq!(report.end(), End::NotWell);
        let mut named = Report::new(&[Check::Restart]);
        named.add(Check::Client, Outcome::passed("runs"), moment);
        named.add(Check::Restart, Outcome::skipped("not permitted"), moment);
        assert_eq!(named.end(), End::Unknown);
    }
}
