//! Reading a scenario file, and every complaint about what was written: file, step, field, and why.

use std::path::{Path, PathBuf};

use regex::Regex;

use super::spec::{Action, LabSpec, Scenario, Step};
use super::vars;
use crate::lab::cluster::Size;
use crate::lab::plan::Network;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// YAML, an unknown field, a wrong type: the message says line and field.
    #[error("{path}: {detail}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A step that reads well but means nothing.
    #[error("{path}: step {number}{title}: {field}: {detail}")]
    Step {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        number: usize,
        /// Its title, in brackets.
        title: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl LabSpec {
    /// A lab that is large enough for this one and another; what both say of a node's label must agree.
    pub fn with(&self, other: &Self) -> Result<Self, String> {
        let mut labels = self.labels.clone();
        for (node, more) in &other.labels {
            let known = labels.entry(node.clone()).or_default();
            for (key, value) in more {
                if known.get(key).is_some_and(|known| known != value) {
                    return Err(format!(
                        "they want different values of the label {key} on {node}"
                    ));
                }
                known.insert(key.clone(), value.clone());
            }
        }
        Ok(Self {
            nodes: self.nodes.max(other.nodes),
            clients: self.clients.max(other.clients),
            labels,
            images: self.images.union(&other.images).cloned().collect(),
            audited: self.audited.union(&other.audited).cloned().collect(),
        })
    }

    /// What the machine room is asked for.
    pub fn size(&self, network: Network) -> Size {
        Size {
            network,
            nodes: self.nodes,
            clients: self.clients,
            labels: self.labels.clone(),
            images: self.images.clone(),
            audited: self.audited.clone(),
        }
    }
}

impl Action<'_> {
    /// Whether only the lab can do it: another cluster's machines are not ours to break, and its kubelets serve logs.
    pub fn needs_the_lab(&self) -> bool {
        matches!(
            self,
            Self::Logs(_) | Self::Kill(_) | Self::Link(_) | Self::FailNode(_) | Self::Rights(_)
        )
    }

    /// Whether it disturbs what is probed: the moment from which an outage counts.
    pub fn disturbs(&self) -> bool {
        matches!(self, Self::Kill(_) | Self::Link(_) | Self::FailNode(_))
    }
}

impl Step {
    /// The action, if there is exactly one or none.
    pub fn action(&self) -> Result<Action<'_>, String> {
        let all: Vec<Action<'_>> = [
            self.kubectl.as_deref().map(Action::Kubectl),
            self.exec.as_ref().map(Action::Exec),
            self.curl.as_ref().map(Action::Curl),
            self.arping.as_ref().map(Action::Arping),
            self.ndisc6.as_ref().map(Action::Ndisc6),
            self.r#await.as_ref().map(Action::Await),
            self.metrics.as_ref().map(Action::Metrics),
            self.logs.as_ref().map(Action::Logs),
            self.probe.as_ref().map(Action::Probe),
            self.outage.as_ref().map(Action::Outage),
            self.ask.as_ref().map(Action::Ask),
            self.asked.as_deref().map(Action::Asked),
            self.hold.as_ref().map(Action::Hold),
            self.held.as_deref().map(Action::Held),
            self.kill.as_ref().map(Action::Kill),
            self.link.as_ref().map(Action::Link),
            self.fail_node.as_deref().map(Action::FailNode),
            self.rights.as_ref().map(Action::Rights),
        ]
        .into_iter()
        .flatten()
        .collect();
        match all.as_slice() {
            [] if self.title.is_none() && self.say.is_none() => {
                Err("a step needs an action, a title or something to say".into())
            }
            [] => Ok(Action::Say),
            [one] => Ok(*one),
            several => Err(format!(
                "a step has one action, this one has {}",
                several.len()
            )),
        }
    }

    /// What is wrong with it: the field, and why.
    fn complaint(&self) -> Option<(&'static str, String)> {
        let action = match self.action() {
            Err(detail) => return Some(("action", detail)),
            Ok(action) => action,
        };
        let expects = !(self.expect.is_empty()
            && self.refuse.is_empty()
            && self.distinct.is_empty()
            && self.capture.is_empty());
        if matches!(action, Action::Say) && (expects || self.fails || self.within.is_some()) {
            return Some((
                "expect",
                "there is no action whose outcome it could be about".into(),
            ));
        }
        if matches!(action, Action::Await(_)) && self.within.is_none() {
            return Some(("within", "waiting needs an end".into()));
        }
        if matches!(action, Action::Outage(_)) && self.within.is_none() {
            return Some(("within", "waiting needs an end".into()));
        }
        let patterns = self
            .expect
            .iter()
            .map(|pattern| ("expect", pattern, 0))
            .chain(self.refuse.iter().map(|pattern| ("refuse", pattern, 0)))
            .chain(
                self.distinct
                    .iter()
                    .map(|distinct| ("distinct", &distinct.find, 1)),
            )
            .chain(self.capture.values().map(|pattern| ("capture", pattern, 1)))
            .chain(self.metrics.iter().flat_map(|metrics| {
                std::iter::once(&metrics.select)
                    .chain(metrics.above.keys())
                    .map(|pattern| ("metrics", pattern, 0))
            }))
            .chain(
                self.logs
                    .iter()
                    .filter_map(|logs| logs.select.as_ref())
                    .map(|pattern| ("logs", pattern, 0)),
            );
        for (field, pattern, groups) in patterns {
            // The value of a variable stands for itself in a pattern, whatever it is.
            match Regex::new(&vars::with_placeholders(pattern)) {
                Err(error) => return Some((field, error.to_string())),
                Ok(regex) if groups == 1 && regex.captures_len() != 2 => {
                    return Some((field, format!("{pattern:?} needs exactly one group")));
                }
                Ok(_) => {}
            }
        }
        let probe = self.probe.iter().map(|probe| ("probe", &probe.url));
        let hold = self.hold.iter().map(|hold| ("hold", &hold.url));
        probe
            .chain(hold)
            .find(|(_, url)| !url.starts_with("http://"))
            .map(|(field, url)| (field, format!("{url:?} is no http:// address")))
    }
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = std::fs::read_to_string(path).map_err(|source| SpecError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Understands the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SpecError> {
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| SpecError::Parse {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        for (index, step) in scenario.steps.iter().chain(&scenario.cleanup).enumerate() {
            if let Some((field, detail)) = step.complaint() {
                let title = step
                    .title
                    .as_ref()
                    .map(|title| format!(" ({title})"))
                    .unwrap_or_default();
                return Err(SpecError::Step {
                    path: path.to_owned(),
                    number: index + 1,
                    title,
                    field,
                    detail,
                });
            }
        }
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(steps: &str) -> String {
        Scenario::parse(Path::new("x.yaml"), &format!("name: x\nsteps:\n{steps}"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let error = error_of("- kubectl: get nodes\n  expcet: [Ready]\n");
        assert!(
            error.contains("x.yaml") && error.contains("expcet"),
            "{error}"
        );
    }

    #[test]
    fn two_actions_in_one_step_are_refused_with_the_number_of_the_step() {
        let error = error_of(
            "- say: hello\n- title: Both\n  kubectl: get nodes\n  link: {on: node-1, interface: eth0, state: down}\n",
        );
        assert!(
            error.contains("step 2 (Both): action: a step has one action, this one has 2"),
            "{error}"
        );
    }

    #[test]
    fn a_pattern_that_does_not_compile_names_its_field() {
        let error = error_of("- kubectl: get nodes\n  expect: ['(']\n");
        assert!(error.contains("step 1: expect:"), "{error}");
        let error = error_of("- kubectl: get nodes\n  capture: {node: 'node-1'}\n");
        assert!(
            error.contains("capture: \"node-1\" needs exactly one group"),
            "{error}"
        );
    }

    #[test]
    fn a_step_that_waits_needs_an_end() {
        let error = error_of("- await: {kind: Node, name: node-1, path: '{.status}'}\n");
        assert!(error.contains("within: waiting needs an end"), "{error}");
    }

    #[test]
    fn an_expectation_without_an_action_is_refused() {
        let error = error_of("- say: hello\n  expect: [hello]\n");
        assert!(error.contains("no action"), "{error}");
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        let error = error_of("- kubectl: get nodes\n  within: '15'\n");
        assert!(
            error.contains("15") && error.contains("duration"),
            "{error}"
        );
    }

    #[test]
    fn one_lab_serves_two_scenarios_unless_they_want_different_labels() {
        let lab = |nodes, role: &str| LabSpec {
            nodes,
            clients: 1,
            labels: [(
                "node-1".to_owned(),
                [("role".to_owned(), role.to_owned())].into(),
            )]
            .into(),
            ..LabSpec::default()
        };
        assert_eq!(lab(2, "edge").with(&lab(3, "edge")).unwrap().nodes, 3);
        assert!(
            lab(2, "edge")
                .with(&lab(2, "worker"))
                .unwrap_err()
                .contains("role on node-1")
        );
    }

    #[test]
    fn breaking_a_machine_needs_the_lab_and_asking_a_cluster_does_not() {
        let scenario = Scenario::parse(
            Path::new("x.yaml"),
            "name: x\nsteps:\n- kill: {on: node-1, process: envoy}\n- kubectl: get nodes\n",
        )
        .unwrap();
        let needs: Vec<bool> = scenario
            .steps
            .iter()
            .map(|step| step.action().unwrap().needs_the_lab())
            .collect();
        assert_eq!(needs, [true, false]);
    }
}
