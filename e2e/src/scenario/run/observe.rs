//! What is looked at: metrics, logs, and how long a probe was not answered.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Line, MOST_OF_A_FAILURE, PATIENCE, Runner};
use crate::lab::node::{container_logs, written};
use crate::scenario::expect::{Expectations, Output, pattern_of, sum_of_series};
use crate::scenario::probe::{Probing, Target};
use crate::scenario::spec::{Logs, Metrics, Outage, Probe, Step};
use crate::scenario::transcript::in_words;
use landfall_testbed::process::tail;

/// The time all probes must be answered before an outage counts as over.
const STEADY: Duration = Duration::from_secs(2);

impl Runner<'_> {
    pub(super) fn begin_probe(&mut self, probe: &Probe) -> Result<String> {
        let url = self.vars.expand(&probe.url)?;
        let from = self.vars.expand(&probe.from)?;
        let target = Target::parse(&self.netns(&from)?, &url, probe.every, probe.timeout)?;
        self.transcript.command(
            &format!("{from}#"),
            &format!(
                "(in the background: a new connection to {url} every {})",
                in_words(probe.every)
            ),
        );
        self.probes
            .insert(probe.name.clone(), Probing::start(target)?);
        Ok(String::new())
    }

    pub(super) async fn measure_outage(&mut self, outage: &Outage, step: &Step) -> Result<String> {
        let probing = self
            .probes
            .get(&outage.of)
            .with_context(|| format!("there is no probe {}", outage.of))?;
        let disturbed = self.disturbed.context("nothing was disturbed yet")?;
        let within = step.within.unwrap_or(PATIENCE);
        let until = Instant::now() + within;
        let silence = loop {
            if let Some(silence) = probing.silence(disturbed, STEADY) {
                break silence;
            }
            if Instant::now() >= until {
                let (answered, lost) = probing.counts();
                anyhow::bail!(
                    "not answered steadily within {}: {answered} probes answered, {lost} lost in all",
                    in_words(within)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.measured = true;
        let text = format!(
            "unanswered for {} ms ({} of {} probes lost); answered again {} ms after the disturbance",
            silence.lasted.as_millis(),
            silence.lost,
            silence.sent,
            silence.answered_again.as_millis()
        );
        if silence.lost > 0 {
            let how = probing.losses(disturbed);
            self.transcript
                .output(&format!("lost since then: {how}"), None);
        }
        if let Some(slowest) = probing.slowest(disturbed) {
            let slowest = slowest.as_millis();
            self.transcript
                .output(&format!("the slowest answer took {slowest} ms"), None);
        }
        self.transcript.output(&text, None);
        self.vars.set(
            &format!("{}.outage-ms", outage.of),
            silence.lasted.as_millis().to_string(),
        );
        anyhow::ensure!(
            silence.lasted <= outage.at_most,
            "that is more than {}",
            in_words(outage.at_most)
        );
        let captured = Expectations::of(step, &self.vars)?.hold(&Output {
            text,
            success: true,
        });
        captured
            .map(|captured| self.take(captured))
            .map_err(anyhow::Error::msg)
    }

    pub(super) async fn read_metrics(&mut self, metrics: &Metrics, step: &Step) -> Result<String> {
        let on = self.vars.expand(&metrics.on)?;
        let select = pattern_of(&self.vars.expand_pattern(&metrics.select)?)?;
        let host = self.vars.expand(&metrics.host)?;
        let line = Line {
            prompt: format!("{on}#"),
            netns: self.netns(&on)?,
            text: format!(
                "curl -sS --max-time 5 http://{host}:{}/metrics",
                metrics.port
            ),
            at_most: PATIENCE,
        };
        self.transcript
            .command(&line.prompt, &format!("{} | grep -E '{select}'", line.text));
        let until = Instant::now() + step.within.unwrap_or_default();
        let expectations = Expectations::of(step, &self.vars)?;
        loop {
            let all = self.shell(&line).await?;
            let chosen: Vec<&str> = all
                .text
                .lines()
                .filter(|line| select.is_match(line))
                .collect();
            let output = Output {
                text: chosen.join("\n"),
                success: all.success,
            };
            let found = expectations
                .hold(&output)
                .and_then(|captured| self.above(metrics, &all.text).map(|()| captured));
            match found {
                Err(_) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(250)).await
                }
                Err(why) => {
                    self.transcript
                        .output(&output.text, Some(MOST_OF_A_FAILURE));
                    anyhow::bail!(why);
                }
                Ok(captured) => {
                    self.transcript.output(&output.text, step.show);
                    return Ok(self.take(captured));
                }
            }
        }
    }

    fn above(&self, metrics: &Metrics, exposition: &str) -> Result<(), String> {
        for (series, bound) in &metrics.above {
            let pattern = self
                .vars
                .expand_pattern(series)
                .map_err(|error| error.to_string())?;
            let sum = sum_of_series(
                exposition,
                &pattern_of(&pattern).map_err(|error| error.to_string())?,
            );
            if sum <= *bound {
                return Err(format!(
                    "the series /{pattern}/ add up to {sum}, not above {bound}"
                ));
            }
        }
        Ok(())
    }

    /// The ends of the logs of a Deployment's or DaemonSet's Pods, read where the nodes keep them.
    pub(super) async fn read_logs(&mut self, wanted: &Logs, step: &Step) -> Result<String> {
        let (namespace, pod) = (
            self.vars.expand(&wanted.namespace)?,
            self.vars.expand(&wanted.pod)?,
        );
        let select = wanted
            .select
            .as_ref()
            .map(|text| pattern_of(&self.vars.expand_pattern(text)?))
            .transpose()?;
        let grep = select
            .as_ref()
            .map(|regex| format!(" | grep -E '{regex}'"))
            .unwrap_or_default();
        self.transcript.command(
            "logs",
            &format!(
                "{namespace}/{pod}* {}{grep} | tail -n {}",
                wanted.container, wanted.tail
            ),
        );
        let until = Instant::now() + step.within.unwrap_or_default();
        let expectations = Expectations::of(step, &self.vars)?;
        loop {
            let mut text = String::new();
            for path in self.log_files(&namespace, &pod, &wanted.container) {
                let all = tail(&path, usize::MAX);
                let chosen: Vec<&str> = all
                    .lines()
                    .map(written)
                    .filter(|line| select.as_ref().is_none_or(|regex| regex.is_match(line)))
                    .collect();
                for line in &chosen[chosen.len().saturating_sub(wanted.tail)..] {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            let output = Output {
                text,
                success: true,
            };
            match expectations.hold(&output) {
                Err(_) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(250)).await
                }
                Err(why) => {
                    self.transcript
                        .output(&output.text, Some(MOST_OF_A_FAILURE));
                    anyhow::bail!(why);
                }
                Ok(captured) => {
                    self.transcript.output(&output.text, step.show);
                    return Ok(self.take(captured));
                }
            }
        }
    }

    fn log_files(&self, namespace: &str, pod: &str, container: &str) -> Vec<PathBuf> {
        let plan = self.lab.plan();
        plan.nodes
            .iter()
            .flat_map(|node| container_logs(plan, node))
            .filter(|log| {
                log.namespace == namespace && log.pod.starts_with(pod) && log.container == container
            })
            .map(|log| log.file)
            .collect()
    }
}
