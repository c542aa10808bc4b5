//! ARP questions that are asked while the cluster changes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{PATIENCE as LONGEST, Runner};
use crate::failover::{Asking, PATIENCE, Sample, both};
use crate::scenario::expect::{Expectations, Output};
use crate::scenario::spec::{Ask, Step};
use crate::scenario::transcript::in_words;

/// What a record says already is put in force a moment later; on a busy machine the old owner waits for the new one.
const MOVED: Duration = Duration::from_secs(3);

impl Runner<'_> {
    /// Begins, and waits for the first answer: what comes to be lost must have been there.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<String> {
        let address: Ipv4Addr = self.vars.expand(&ask.address)?.parse()?;
        let from = self.vars.expand(&ask.from)?;
        let client = self.lab.plan().machine(&from);
        let client = client.with_context(|| format!("the lab has no machine {from}"))?;
        self.transcript.command(
            &format!("{from}#"),
            &format!(
                "(in the background: who has {address}? every {})",
                in_words(ask.every)
            ),
        );
        let asking = Asking::start(client, &[address], ask.every)?;
        let begun = Instant::now();
        while asking.series(address).answers.is_empty() {
            ensure!(
                begun.elapsed() < LONGEST,
                "{address} was not answered for within {LONGEST:?}"
            );
            tokio::time::sleep(PATIENCE / 10).await;
        }
        self.questions
            .insert(ask.name.clone(), (address, asking, Instant::now()));
        Ok(String::new())
    }

    /// What came of those asked since it was told last, once the fate of each is known.
    pub(super) async fn asked(&mut self, name: &str, step: &Step) -> Result<String> {
        self.transcript
            .command("…", &format!("what was answered of {name}"));
        tokio::time::sleep(MOVED).await;
        let until = Instant::now();
        tokio::time::sleep(PATIENCE).await;
        let asking = self.questions.get_mut(name);
        let (address, asking, since) =
            asking.with_context(|| format!("nothing is asked as {name}"))?;
        let series = asking.series(*address);
        let of_then = |at: Instant| *since <= at && at < until;
        let asked: Vec<Sample> = series
            .samples
            .iter()
            .copied()
            .filter(|sample| of_then(sample.sent))
            .collect();
        // From the first question in vain to the last of the same row.
        let silences = asked
            .chunk_by(|one, next| !one.answered && !next.answered)
            .filter(|row| !row[0].answered)
            .map(|row| row[row.len() - 1].sent - row[0].sent);
        let longest = silences.max().unwrap_or_default();
        let mut answers = series.answers;
        answers.retain(|(at, _)| of_then(*at));
        let answerers: BTreeSet<_> = answers.iter().map(|(_, mac)| *mac).collect();
        let twice = both(&answers, *since);
        *since = until;
        let text = format!(
            "asked={} unanswered={} answerers={} two-answering={} ms longest-silence={} ms",
            asked.len(),
            asked.iter().filter(|sample| !sample.answered).count(),
            answerers.len(),
            twice.as_millis(),
            longest.as_millis()
        );
        self.transcript.output(&text, None);
        let captured = Expectations::of(step, &self.vars)?.hold(&Output {
            text,
            success: true,
        });
        captured
            .map(|captured| self.take(captured))
            .map_err(anyhow::Error::msg)
    }
}
