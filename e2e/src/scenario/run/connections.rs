//! Connections that are held open while the cluster changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, Runner};
use crate::scenario::expect::{Expectations, Output};
use crate::scenario::hold::{Grip, Holding};
use crate::scenario::probe::Target;
use crate::scenario::spec::{Hold, Step};
use crate::scenario::transcript::in_words;

impl Runner<'_> {
    /// Opens connections, and waits until each has had an answer or was refused.
    pub(super) async fn hold(&mut self, hold: &Hold) -> Result<String> {
        let url = self.vars.expand(&hold.url)?;
        let from = self.vars.expand(&hold.from)?;
        let netns = self.netns(&from)?;
        let target = Target::parse(&netns, &url, hold.every, hold.every)?;
        self.transcript.command(
            &format!("{from}#"),
            &format!(
                "(in the background: {} connections to {url}, each {} every {})",
                hold.connections,
                if hold.anew { "opened anew" } else { "asks" },
                in_words(hold.every)
            ),
        );
        // Those of the same name let go first: the new ones may want their ports.
        self.holds.remove(&hold.name);
        let begun = Instant::now();
        let holding = Holding::start(Grip {
            netns,
            address: target.address,
            connections: hold.connections,
            ports: hold.ports,
            every: hold.every,
            anew: hold.anew,
        })?;
        let until = Instant::now() + PATIENCE;
        while !holding.settled_since(begun) {
            ensure!(
                Instant::now() < until,
                "not all of them were answered or refused within {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.holds.insert(hold.name.clone(), holding);
        Ok(String::new())
    }

    /// Says what became of them, once each has been asked once more.
    pub(super) async fn held(&mut self, name: &str, step: &Step) -> Result<String> {
        self.transcript
            .command("…", &format!("what became of {name}"));
        let holding = self.holds.get(name);
        let holding = holding.with_context(|| format!("nothing is held as {name}"))?;
        let within = step.within.unwrap_or(PATIENCE);
        let begun = Instant::now();
        while !holding.settled_since(begun) {
            ensure!(
                begun.elapsed() < within,
                "not all of them were answered or broken within {}",
                in_words(within)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (text, success) = (holding.said(), true);
        self.transcript.output(&text, None);
        let captured = Expectations::of(step, &self.vars)?.hold(&Output { text, success });
        captured
            .map(|captured| self.take(captured))
            .map_err(anyhow::Error::msg)
    }
}
