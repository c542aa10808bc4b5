//! What the client sees, as its log has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use landfall_probe::report::{Line, Window, parse};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// What the client's log has.
#[derive(Clone, Debug)]
enum Said {
    Line(Line),
    /// What is no line of a report: why it ended.
    Word(String),
}

/// What the client sees.
pub(super) struct Observer {
    seen: watch::Receiver<Vec<Said>>,
    reading: JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Observer {
    /// Reads the lines of a log as long as there are any.
    pub(super) fn of(lines: impl Stream<Item = std::io::Result<String>> + Send + 'static) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            let mut lines = pin!(lines);
            while let Ok(Some(text)) = lines.try_next().await {
                let said = match parse(&text) {
                    Some(line) => Said::Line(line),
                    None => Said::Word(text),
                };
                sender.send_modify(|all| all.push(said));
            }
        });
        Self { seen, reading }
    }

    /// Now, as a place to look back to.
    pub(super) fn mark(&self) -> usize {
        self.seen.borrow().len()
    }

    /// What it saw since, by address.
    pub(super) fn since(&self, mark: usize) -> BTreeMap<IpAddr, Window> {
        let mut sums: BTreeMap<IpAddr, Window> = BTreeMap::new();
        for said in self.seen.borrow().iter().skip(mark) {
            if let Said::Line(Line::Window(window)) = said {
                sums.entry(window.vip)
                    .or_insert_with(|| Window::new(window.vip))
                    .add(window);
            }
        }
        sums
    }

    /// Waits until it asks for so many addresses; else why it does not.
    pub(super) async fn begun(
        &mut self,
        addresses: usize,
        patience: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            {
                let seen = self.seen.borrow_and_update();
                let lines = seen.iter().filter_map(|said| match said {
                    Said::Line(line) => Some(line),
                    Said::Word(_) => None,
                });
                let mut began = 0;
                for line in lines {
                    match line {
                        Line::Began { .. } => began += 1,
                        Line::Taken { address, mac } => {
                            return Err(format!(
                                "{address}, which the pool has free and the client was to have, is used by {mac}; \
                                 exclude it from the pool"
                            ));
                        }
                        Line::Window(_) => {}
                    }
                }
                if began == addresses {
                    return Ok(());
                }
                if self.reading.is_finished() {
                    return Err(ended(&seen));
                }
            }
            if timeout_at(end, self.seen.changed()).await.is_err() {
                return Err(format!("it said nothing for {patience:?}"));
            }
        }
    }

    /// Lets it ask for a while; else why it has ended.
    pub(super) async fn watch(&mut self, time: Duration) -> Result<(), String> {
        let (end, before) = (Instant::now() + time, self.mark());
        sleep(time).await;
        // What was asked by then is on its way through the API server.
        let grace = end + Duration::from_secs(10);
        while self.mark() == before {
            match timeout_at(grace, self.seen.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(ended(&self.seen.borrow())),
            }
        }
        match self.reading.is_finished() {
            true => Err(ended(&self.seen.borrow())),
            false => Ok(()),
        }
    }
}

fn ended(seen: &[Said]) -> String {
    let words = seen.iter().filter_map(|said| match said {
        Said::Word(word) => Some(word.trim()),
        Said::Line(_) => None,
    });
    let words: Vec<&str> = words.collect();
    match words.is_empty() {
        true => "the client fell silent".to_owned(),
        false => format!("the client ended: {}", words.join(" ")),
    }
}
