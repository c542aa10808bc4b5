//! Carries a scenario out in a lab: step by step, shows each, stops at the first that does not hold.
//!
//! Here: the order of things and command lines. [`observe`]: metrics, logs, outages. [`disturb`]: what is broken.

mod connections;
mod disturb;
mod observe;
mod questions;
mod rights;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::expect::{Expectations, Output};
use super::hold::Holding;
use super::jsonpath::Template;
use super::probe::Probing;
use super::spec::{Action, Await, PATIENCE, Scenario, Step};
use super::transcript::{Transcript, in_words};
use super::vars::Vars;
use super::watch;
use crate::failover::Asking;
use crate::lab::cluster::Lab;
use crate::lab::{evidence, node};
use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::process::in_netns;

/// Lines of output shown of a command that did not hold.
const MOST_OF_A_FAILURE: usize = 200;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step held.
    Held,
    /// One did not.
    Broke,
}

/// A scenario on its way.
#[derive(Debug)]
pub struct Runner<'a> {
    lab: &'a Lab,
    scenario: &'a Scenario,
    transcript: &'a mut Transcript,
    vars: Vars,
    probes: BTreeMap<String, Probing>,
    holds: BTreeMap<String, Holding>,
    /// With the moment since when nothing was said of it.
    questions: BTreeMap<String, (Ipv4Addr, Asking, Instant)>,
    /// The first disturbance since the last outage was measured.
    disturbed: Option<Instant>,
    /// What came of that was looked at: the next disturbance is another.
    measured: bool,
}

/// A command line, and where it runs.
struct Line {
    prompt: String,
    netns: String,
    text: String,
    at_most: Duration,
}

impl<'a> Runner<'a> {
    /// Ready to run; its variables are the lab's machines and the scenario's own.
    pub fn new(
        lab: &'a Lab,
        scenario: &'a Scenario,
        transcript: &'a mut Transcript,
    ) -> Result<Self> {
        let (plan, wanted) = (lab.plan(), &scenario.lab);
        anyhow::ensure!(
            plan.nodes.len() >= usize::from(wanted.nodes)
                && plan.clients.len() >= usize::from(wanted.clients),
            "{} wants {} nodes and {} clients; lab {} has {} and {}",
            scenario.name,
            wanted.nodes,
            wanted.clients,
            plan.id,
            plan.nodes.len(),
            plan.clients.len()
        );
        let mut vars = Vars::of(plan);
        for (name, value) in &scenario.vars {
            let value = vars
                .expand(value)
                .with_context(|| format!("the variable {name} of {}", scenario.name))?;
            vars.set(name, value);
        }
        Ok(Self {
            lab,
            scenario,
            transcript,
            vars,
            probes: BTreeMap::new(),
            holds: BTreeMap::new(),
            questions: BTreeMap::new(),
            disturbed: None,
            measured: false,
        })
    }

    /// Runs all steps, or up to the first that does not hold.
    pub async fn run(&mut self) -> Result<Outcome> {
        let started = Instant::now();
        let steps = &self.scenario.steps;
        for (index, step) in steps.iter().enumerate() {
            let at = Instant::now();
            if let Err(error) = self.step(step).await {
                self.transcript
                    .broke(&format!("step {}: {error:#}", index + 1), at.elapsed());
                let kept = self.keep_evidence().await;
                self.transcript.closing(
                    false,
                    &format!(
                        "{} did not hold: step {} of {}, after {}. Logs and objects: {}",
                        self.scenario.name,
                        index + 1,
                        steps.len(),
                        in_words(started.elapsed()),
                        kept.map_or_else(
                            |error| format!("not kept ({error:#})"),
                            |dir| dir.display().to_string()
                        ),
                    ),
                );
                return Ok(Outcome::Broke);
            }
        }
        let checked = steps
            .iter()
            .filter(|step| !matches!(step.action(), Ok(Action::Say)))
            .count();
        self.transcript.closing(
            true,
            &format!(
                "{}: all {checked} steps held, in {}",
                self.scenario.name,
                in_words(started.elapsed())
            ),
        );
        Ok(Outcome::Held)
    }

    /// Takes away what the scenario made, for a lab that goes on to another one.
    pub async fn clean_up(mut self) -> Result<()> {
        for step in &self.scenario.cleanup {
            self.step(step).await.context("cleaning up")?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        if let Some(title) = &step.title {
            let title = self.vars.expand(title)?;
            self.transcript.title(&title);
        }
        if let Some(say) = &step.say {
            let say = self.vars.expand(say)?;
            self.transcript.say(&say);
        }
        let action = step.action().map_err(anyhow::Error::msg)?;
        if step.disturbs || action.disturbs() {
            if std::mem::take(&mut self.measured) {
                self.disturbed = None;
            }
            self.disturbed.get_or_insert_with(Instant::now);
        }
        let at = Instant::now();
        let said = match action {
            Action::Say => return Ok(()),
            Action::Await(wanted) => self.wait_for(wanted, step).await?,
            Action::Probe(probe) => self.begin_probe(probe)?,
            Action::Outage(outage) => self.measure_outage(outage, step).await?,
            Action::Ask(ask) => self.ask(ask).await?,
            Action::Asked(name) => self.asked(name, step).await?,
            Action::Hold(hold) => self.hold(hold).await?,
            Action::Held(name) => self.held(name, step).await?,
            Action::Kill(kill) => self.kill(kill)?,
            Action::FailNode(name) => self.fail_node(name)?,
            Action::Rights(rights) => self.rights(rights, step).await?,
            Action::Metrics(metrics) => self.read_metrics(metrics, step).await?,
            Action::Logs(wanted) => self.read_logs(wanted, step).await?,
            command => {
                let line = self.line(command)?;
                self.command(&line, step).await?
            }
        };
        self.transcript.held(&said, at.elapsed());
        Ok(())
    }

    /// The command line of an action that is one.
    fn line(&self, action: Action<'_>) -> Result<Line> {
        let on = |name: &str, text: String| -> Result<Line> {
            let name = self.vars.expand(name)?;
            Ok(Line {
                prompt: format!("{name}#"),
                netns: self.netns(&name)?,
                text: self.vars.expand(&text)?,
                at_most: PATIENCE,
            })
        };
        match action {
            Action::Kubectl(args) => {
                let text = format!("kubectl {}", self.vars.expand(args)?);
                Ok(Line {
                    prompt: "$".into(),
                    netns: self.lab.plan().hub.clone(),
                    text,
                    at_most: PATIENCE,
                })
            }
            Action::Exec(exec) => Ok(Line {
                at_most: exec.at_most,
                ..on(&exec.on, exec.run.clone())?
            }),
            Action::Curl(curl) => {
                let space = if curl.flags.is_empty() { "" } else { " " };
                let once = format!("curl -sS --max-time 5 {}{space}{}", curl.flags, curl.url);
                on(
                    &curl.from,
                    if curl.times == 1 {
                        once
                    } else {
                        format!("for i in $(seq {}); do {once}; done", curl.times)
                    },
                )
            }
            Action::Arping(solicit) => on(
                &solicit.from,
                format!(
                    "arping -I eth0 -w 3 -c {} {}",
                    solicit.times, solicit.address
                ),
            ),
            Action::Ndisc6(solicit) => on(
                &solicit.from,
                format!("ndisc6 -q -r {} {} eth0", solicit.times, solicit.address),
            ),
            Action::Link(link) => {
                let name = self.vars.expand(&link.on)?;
                let machine = self
                    .lab
                    .plan()
                    .machine(&name)
                    .with_context(|| format!("the lab has no {name}"))?;
                let interface = if link.interface == super::spec::Interface::Eth0 {
                    "eth0"
                } else {
                    "mgmt0"
                };
                let state = if link.state == super::spec::LinkState::Up {
                    "up"
                } else {
                    "down"
                };
                // The switch's end of the cable: the machine loses its carrier, as when the plug is pulled.
                let text = format!("ip link set {} {state}", machine.port(interface));
                Ok(Line {
                    prompt: "switch#".into(),
                    netns: self.lab.plan().hub.clone(),
                    text,
                    at_most: PATIENCE,
                })
            }
            other => anyhow::bail!("{other:?} is no command line"),
        }
    }

    /// Runs a command, again and again if it may take a while, and holds its output against the expectations.
    async fn command(&mut self, line: &Line, step: &Step) -> Result<String> {
        self.transcript.command(&line.prompt, &line.text);
        let expectations = Expectations::of(step, &self.vars)?;
        let until = step.within.map(|within| Instant::now() + within);
        loop {
            let output = self.shell(line).await?;
            match expectations.hold(&output) {
                Ok(captured) => {
                    self.transcript.output(&output.text, step.show);
                    return Ok(self.take(captured));
                }
                Err(_) if until.is_some_and(|until| Instant::now() < until) => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(why) => {
                    self.transcript
                        .output(&output.text, Some(MOST_OF_A_FAILURE));
                    anyhow::bail!(why);
                }
            }
        }
    }

    async fn shell(&self, line: &Line) -> Result<Output> {
        let (plan, tree) = (self.lab.plan(), source_tree());
        let shell = Path::new("sh");
        let node = plan.nodes.iter().find(|node| node.netns == line.netns);
        let command = node
            .and_then(|node| node::inside(plan, node, shell, &tree))
            .unwrap_or_else(|| in_netns(Some(&line.netns), shell));
        let mut command = tokio::process::Command::from(command);
        let own = std::env::current_exe().context("finding out where this program is")?;
        let own = own
            .parent()
            .map_or_else(String::new, |dir| dir.display().to_string());
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-c", &line.text])
            .current_dir(&tree)
            .env(
                "PATH",
                format!("{}:{own}:{path}", self.lab.plan().assets.display()),
            )
            .env("KUBECONFIG", self.lab.kubeconfig("admin"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(line.at_most, command.output())
            .await
            .map_err(|_| anyhow::anyhow!("{:?} did not end within {:?}", line.text, line.at_most))?
            .with_context(|| format!("running {:?}", line.text))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Output {
            text,
            success: output.status.success(),
        })
    }

    async fn wait_for(&mut self, wanted: &Await, step: &Step) -> Result<String> {
        let name = self.vars.expand(&wanted.name)?;
        let namespace = wanted
            .namespace
            .as_ref()
            .map(|namespace| self.vars.expand(namespace))
            .transpose()?;
        let path = self.vars.expand(&wanted.path)?;
        let shown = format!(
            "{}{name}",
            namespace
                .as_ref()
                .map(|name| format!("{name}/"))
                .unwrap_or_default()
        );
        self.transcript
            .command("…", &format!("awaiting {} {shown} {path}", wanted.kind));
        let template = Template::parse(&path)?;
        let expectations = Expectations::of(step, &self.vars)?;
        let wanted = watch::Wanted {
            api: wanted.api.clone(),
            kind: wanted.kind.clone(),
            namespace,
            name,
        };
        let client = self.lab.client().await?;
        let mut seen = Output::default();
        let watching = watch::until(&client, &wanted, &template, &mut seen, |output| {
            if output.text.is_empty() && step.expect.is_empty() && step.capture.is_empty() {
                return Err("nothing there yet".to_owned());
            }
            expectations.hold(output)
        });
        let within = step.within.unwrap_or(PATIENCE);
        let found = tokio::time::timeout(within, watching).await;
        self.transcript.output(&seen.text, step.show);
        match found {
            Ok(captured) => Ok(self.take(captured?)),
            Err(_) => anyhow::bail!(
                "not within {}: {}",
                in_words(within),
                expectations.hold(&seen).err().unwrap_or_default()
            ),
        }
    }

    /// Remembers what was captured, and says it.
    fn take(&mut self, captured: BTreeMap<String, String>) -> String {
        let mut said = String::new();
        for (name, value) in captured {
            said.push_str(&format!("{name} = {value}, "));
            self.vars.set(&name, value);
        }
        said
    }

    fn netns(&self, machine: &str) -> Result<String> {
        self.lab
            .plan()
            .netns(machine)
            .map(str::to_owned)
            .with_context(|| format!("the lab has no machine {machine}"))
    }

    /// Copies logs and dumps objects to where they outlive the lab.
    async fn keep_evidence(&self) -> Result<PathBuf> {
        let plan = self.lab.plan();
        let dir = evidence::keep(plan, &self.scenario.name)?;
        let objects = Line {
            prompt: String::new(),
            netns: plan.hub.clone(),
            text: "kubectl get nodes,pods,services,endpointslices,events,leases -A -o wide; \
                   kubectl get landfall -o yaml; kubectl describe pods -A"
                .into(),
            at_most: PATIENCE,
        };
        let dump = self
            .shell(&objects)
            .await
            .map_or_else(|error| format!("{error:#}"), |output| output.text);
        fs::write(dir.join("objects.txt"), dump)?;
        Ok(dir)
    }
}
