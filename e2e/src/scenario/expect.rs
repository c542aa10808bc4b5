//! What the output of a step must hold. Pure: variables are already filled in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use regex::{Regex, RegexBuilder};

use super::spec::Step;
use super::vars::Vars;

/// What an action brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What it printed.
    pub text: String,
    /// Whether it succeeded.
    pub success: bool,
}

/// The expectations of a step, ready to be held against an output.
#[derive(Debug)]
pub struct Expectations {
    expect: Vec<Regex>,
    refuse: Vec<Regex>,
    distinct: Vec<(Regex, usize)>,
    capture: BTreeMap<String, Regex>,
    fails: bool,
}

impl Expectations {
    /// Those of a step, with the values of this moment.
    pub fn of(step: &Step, vars: &Vars) -> Result<Self> {
        let compile =
            |pattern: &String| -> Result<Regex> { pattern_of(&vars.expand_pattern(pattern)?) };
        Ok(Self {
            expect: step.expect.iter().map(compile).collect::<Result<_>>()?,
            refuse: step.refuse.iter().map(compile).collect::<Result<_>>()?,
            distinct: step
                .distinct
                .iter()
                .map(|distinct| Ok((compile(&distinct.find)?, distinct.at_least)))
                .collect::<Result<_>>()?,
            capture: step
                .capture
                .iter()
                .map(|(name, pattern)| Ok((name.clone(), compile(pattern)?)))
                .collect::<Result<_>>()?,
            fails: step.fails,
        })
    }

    /// What is captured, or what does not hold.
    pub fn hold(&self, output: &Output) -> Result<BTreeMap<String, String>, String> {
        match (self.fails, output.success) {
            (false, false) => return Err("the command failed".into()),
            (true, true) => return Err("the command was to fail, and did not".into()),
            _ => {}
        }
        let text = &output.text;
        if let Some(missing) = self.expect.iter().find(|regex| !regex.is_match(text)) {
            return Err(format!("nothing matches /{missing}/"));
        }
        if let Some(found) = self
            .refuse
            .iter()
            .find_map(|regex| Some((regex, regex.find(text)?)))
        {
            return Err(format!(
                "/{}/ was not to be found, but {:?} was",
                found.0,
                found.1.as_str()
            ));
        }
        for (regex, at_least) in &self.distinct {
            let values: BTreeSet<&str> = regex
                .captures_iter(text)
                .filter_map(|found| Some(found.get(1)?.as_str()))
                .collect();
            if values.len() < *at_least {
                return Err(format!(
                    "/{regex}/ found {} different values {values:?}, not {at_least}",
                    values.len()
                ));
            }
        }
        self.capture
            .iter()
            .map(|(name, regex)| {
                let found = regex
                    .captures(text)
                    .and_then(|found| Some(found.get(1)?.as_str().to_owned()));
                found
                    .map(|value| (name.clone(), value))
                    .ok_or_else(|| format!("nothing matches /{regex}/, which was to be {name}"))
            })
            .collect()
    }
}

/// A regular expression over lines: `^` and `$` are the ends of a line.
pub fn pattern_of(text: &str) -> Result<Regex> {
    RegexBuilder::new(text)
        .multi_line(true)
        .build()
        .with_context(|| format!("compiling {text:?}"))
}

/// The sum of the values of the series of an exposition text that match.
pub fn sum_of_series(exposition: &str, series: &Regex) -> f64 {
    exposition
        .lines()
        .filter(|line| !line.starts_with('#') && series.is_match(line))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(step: &str, text: &str, success: bool) -> Result<BTreeMap<String, String>, String> {
        let step: Step = serde_saphyr::from_str(step).unwrap();
        let mut vars = Vars::default();
        vars.set("vip", "192.0.2.200".into());
        Expectations::of(&step, &vars).unwrap().hold(&Output {
            text: text.into(),
            success,
        })
    }

    #[test]
    fn every_pattern_must_match_and_none_of_the_refused() {
        assert!(hold("expect: ['^a', 'c$']", "abc\nacc", true).is_ok());
        assert_eq!(
            hold("expect: ['^b']", "abc", true).unwrap_err(),
            "nothing matches /^b/"
        );
        assert!(
            hold("refuse: [b+]", "abbc", true)
                .unwrap_err()
                .contains("\"bb\"")
        );
    }

    #[test]
    fn a_variable_in_a_pattern_is_no_pattern() {
        assert!(hold("expect: ['${vip}']", "192x0x2x200", true).is_err());
        assert!(hold("expect: ['${vip}']", "192.0.2.200", true).is_ok());
    }

    #[test]
    fn a_failure_counts_unless_it_is_wanted() {
        assert!(hold("say: x", "", false).is_err());
        assert!(hold("fails: true", "", false).is_ok());
        assert!(hold("fails: true", "", true).is_err());
    }

    #[test]
    fn different_values_are_counted_once_each() {
        let text = "pod=a\npod=b\npod=a\n";
        assert!(hold("distinct: [{find: 'pod=(.)', at-least: 2}]", text, true).is_ok());
        assert!(
            hold("distinct: [{find: 'pod=(.)', at-least: 3}]", text, true)
                .unwrap_err()
                .contains("2 different")
        );
    }

    #[test]
    fn a_capture_that_finds_nothing_does_not_hold() {
        assert_eq!(
            hold("capture: {x: 'n=(\\d+)'}", "n=42", true).unwrap()["x"],
            "42"
        );
        assert!(hold("capture: {x: 'n=(\\d+)'}", "n=", true).is_err());
    }

    #[test]
    fn the_series_of_a_metric_are_summed() {
        let text = "# TYPE a counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4.5\nb_total 9\n";
        let sum = sum_of_series(text, &pattern_of("^a_total").unwrap());
        assert!((sum - 7.5).abs() < f64::EPSILON);
    }
}
