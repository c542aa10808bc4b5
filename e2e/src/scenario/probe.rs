//! Asking continuously: a new HTTP connection every few milliseconds from a client's namespace, in a thread of its own.
//! Whether and when each one was answered is kept; silence is measured from these, never guessed.
//!
//! An outage runs from the sending of the last probe that was answered before it to the sending of the first one after
//! which all were answered again: both are moments at which the client was, for certain, served.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use landfall_testbed::netns;

/// The fate of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was sent.
    pub sent: Instant,
    /// How long its answer took, or how it was lost.
    pub answered: Result<Duration, String>,
}

/// The silence a client met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Between the two moments at which the client was served for certain; zero if no probe was lost.
    pub lasted: Duration,
    /// Probes lost in between.
    pub lost: usize,
    /// Probes sent in between, and up to now.
    pub sent: usize,
    /// From the disturbance to the sending of the first probe answered again.
    pub answered_again: Duration,
}

/// A probe that runs until it is dropped.
#[derive(Debug)]
pub struct Probing {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Where and how often.
#[derive(Clone, Debug)]
pub struct Target {
    /// The namespace to ask from.
    pub netns: String,
    /// Whom to ask.
    pub address: SocketAddr,
    /// What to ask for.
    pub path: String,
    /// The time between two probes.
    pub every: Duration,
    /// When one is lost.
    pub timeout: Duration,
}

impl Target {
    /// Out of an `http://` address whose host is a number.
    pub fn parse(
        netns: &str,
        url: &str,
        every: Duration,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("{url:?} is no http:// address"))?;
        let (host, path) = rest
            .split_once('/')
            .map_or((rest, String::new()), |(host, path)| {
                (host, path.to_owned())
            });
        let address = host
            .parse()
            .or_else(|_| format!("{host}:80").parse())
            .with_context(|| format!("{url:?} names no address by number"))?;
        Ok(Self {
            netns: netns.to_owned(),
            address,
            path: format!("/{path}"),
            every,
            timeout,
        })
    }
}

impl Probing {
    /// Begins.
    pub fn start(target: Target) -> anyhow::Result<Self> {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, halt) = (Arc::clone(&samples), Arc::clone(&stop));
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                let entered = netns::enter(&target.netns).and_then(|()| {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .context("a runtime for probes")
                });
                match entered {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(ask_on(&target, &theirs, &halt));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("starting the probing thread")?;
        started.recv().context("the probing thread ended")??;
        Ok(Self {
            samples,
            stop,
            thread: Some(thread),
        })
    }

    /// The silence since a disturbance, if all probes of the last `steady` were answered.
    pub fn silence(&self, disturbed: Instant, steady: Duration) -> Option<Silence> {
        silence(&self.samples.lock(), disturbed, steady)
    }

    /// Answered and lost so far.
    pub fn counts(&self) -> (usize, usize) {
        let samples = self.samples.lock();
        let answered = samples
            .iter()
            .filter(|sample| sample.answered.is_ok())
            .count();
        (answered, samples.len() - answered)
    }

    /// The longest that an answer took to one that was sent since a moment.
    pub fn slowest(&self, since: Instant) -> Option<Duration> {
        let samples = self.samples.lock();
        let since = samples.iter().filter(|sample| sample.sent >= since);
        since
            .filter_map(|sample| sample.answered.as_ref().ok().copied())
            .max()
    }

    /// How those were lost that were sent since a moment, and at which seconds after it, in a few words.
    pub fn losses(&self, since: Instant) -> String {
        let mut how: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
        for sample in self.samples.lock().iter() {
            if let (Err(word), Some(after)) =
                (&sample.answered, sample.sent.checked_duration_since(since))
            {
                let seconds = how.entry(word.clone()).or_default();
                *seconds.entry(after.as_secs()).or_default() += 1;
            }
        }
        let words = how.iter().map(|(word, seconds)| {
            let each = seconds.iter().map(|(at, many)| format!("{many} at {at} s"));
            format!("{word}: {}", each.collect::<Vec<_>>().join(", "))
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn ask_on(target: &Target, samples: &Arc<Mutex<Vec<Sample>>>, stop: &AtomicBool) {
    let mut tick = tokio::time::interval(target.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let (target, samples) = (target.clone(), Arc::clone(samples));
        tokio::spawn(async move {
            let sent = Instant::now();
            let mut silent = "never connected";
            let answer = tokio::time::timeout(target.timeout, ask(&target, &mut silent)).await;
            let answered = match answer {
                Ok(Ok(())) => Ok(sent.elapsed()),
                Ok(Err(how)) => Err(how),
                Err(_) => Err(silent.to_owned()),
            };
            samples.lock().push(Sample { sent, answered });
        });
    }
}

/// One connection, one request; if it was not answered with 200, what came instead. How far it has come stands in `silent`.
async fn ask(target: &Target, silent: &mut &'static str) -> Result<(), String> {
    let said = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::ConnectionReset => "reset".to_owned(),
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect(target.address).await.map_err(said)?;
    *silent = "connected, not answered";
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        target.path, target.address
    );
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut stream = stream.take(64 * 1024);
    stream.read_to_end(&mut answer).await.map_err(said)?;
    match (answer.starts_with(b"HTTP/1."), answer.get(9..12)) {
        (true, Some(b"200")) => Ok(()),
        (true, Some(status)) => Err(format!("with {}", String::from_utf8_lossy(status))),
        _ => Err("closed".to_owned()),
    }
}

fn silence(samples: &[Sample], disturbed: Instant, steady: Duration) -> Option<Silence> {
    // By the moment of sending: the lost ones are entered late.
    let by_sending: BTreeMap<Instant, bool> = samples
        .iter()
        .map(|sample| (sample.sent, sample.answered.is_ok()))
        .collect();
    let (last, _) = by_sending.last_key_value()?;
    let lost: Vec<Instant> = by_sending
        .iter()
        .filter(|(_, answered)| !**answered)
        .map(|(sent, _)| *sent)
        .collect();
    let first_lost = lost
        .iter()
        .find(|sent| **sent + steady >= disturbed)
        .copied();
    let (Some(first_lost), Some(last_lost)) = (first_lost, lost.last().copied()) else {
        let quiet = *last >= disturbed + steady;
        return quiet.then(|| Silence {
            lasted: Duration::ZERO,
            lost: 0,
            sent: by_sending.range(disturbed..).count(),
            answered_again: Duration::ZERO,
        });
    };
    let before = by_sending
        .range(..first_lost)
        .next_back()
        .map_or(first_lost, |(sent, _)| *sent);
    let (again, _) = by_sending
        .range(last_lost..)
        .find(|(_, answered)| **answered)?;
    // Steady long enough, and nothing sent before that can still turn out lost.
    (*last >= *again + steady).then(|| Silence {
        lasted: *again - before,
        lost: lost.iter().filter(|sent| **sent >= first_lost).count(),
        sent: by_sending.range(before..=*again).count(),
        answered_again: again.saturating_duration_since(disturbed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Duration = Duration::from_millis(100);

    /// One letter a probe, 10 ms apart: `.` answered, `x` lost.
    fn samples(start: Instant, fates: &str) -> Vec<Sample> {
        fates
            .bytes()
            .enumerate()
            .map(|(index, fate)| Sample {
                sent: start + Duration::from_millis(10) * u32::try_from(index).unwrap(),
                answered: if fate == b'.' {
                    Ok(Duration::from_millis(1))
                } else {
                    Err("silent".to_owned())
                },
            })
            .collect()
    }

    #[test]
    fn silence_runs_from_the_last_answered_probe_to_the_first_after_which_all_were() {
        let start = Instant::now();
        let found = silence(
            &samples(start, "...xxx.x............"),
            start + Duration::from_millis(25),
            STEADY,
        )
        .unwrap();
        assert_eq!(found.lasted, Duration::from_millis(60));
        assert_eq!(found.lost, 4);
        assert_eq!(found.answered_again, Duration::from_millis(55));
    }

    #[test]
    fn nothing_is_said_before_answers_are_steady() {
        let start = Instant::now();
        assert_eq!(
            silence(
                &samples(start, "...xxx......"),
                start + Duration::from_millis(25),
                STEADY
            ),
            None
        );
        assert_eq!(
            silence(
                &samples(start, "...xxx"),
                start + Duration::from_millis(25),
                STEADY
            ),
            None
        );
        assert_eq!(silence(&[], start, STEADY), None);
    }

    #[test]
    fn without_a_lost_probe_the_silence_is_nothing() {
        let start = Instant::now();
        let found = silence(
            &samples(start, "................"),
            start + Duration::from_millis(20),
            STEADY,
        )
        .unwrap();
        assert_eq!((found.lasted, found.lost), (Duration::ZERO, 0));
    }

    #[test]
    fn samples_may_be_entered_in_any_order() {
        let start = Instant::now();
        let mut shuffled = samples(start, "...xxx...............");
        shuffled.reverse();
        assert_eq!(
            silence(&shuffled, start, STEADY).unwrap().lasted,
            Duration::from_millis(40)
        );
    }

    #[test]
    fn an_address_is_taken_apart_with_and_without_port_and_in_both_families() {
        let parse = |url: &str| Target::parse("ns", url, STEADY, STEADY);
        assert_eq!(
            parse("http://192.0.2.1/x/y").unwrap().address,
            "192.0.2.1:80".parse().unwrap()
        );
        assert_eq!(parse("http://[2001:db8::1]:8080").unwrap().path, "/");
        assert!(parse("http://example/").is_err());
    }
}
