//! Streams: open connections over which a client sends numbers, and has them sent back. What an application sees that
//! was connected before: for how long nothing comes back, and whether the connection is still one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_testbed::netns;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::lab::plan::Machine;

/// How many there are.
pub(super) const STREAMS: usize = 4;
/// A number is sent so often.
pub(super) const EVERY: Duration = Duration::from_millis(10);
/// A stream that is silent for so long has stalled: TCP has repeated itself five times by then.
pub(super) const STALLED: Duration = Duration::from_secs(7);
/// The port of the echo.
const PORT: u16 = 7;

/// What became of a stream: when numbers came back, and whether it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    echoes: Vec<Instant>,
    ended: Option<Instant>,
}

/// What befell streams from one moment to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    /// The longest time between two numbers of each that goes on.
    pub(super) pauses: Vec<Duration>,
    /// Reset, closed, or answered with what was not sent.
    pub(super) reset: usize,
    /// Neither goes on nor has ended.
    pub(super) stalled: usize,
}

/// What befell these since, as far as it is certain by now: of each that it goes on, has ended, or has stalled.
pub(super) fn fates(streams: &[Stream], since: Instant, now: Instant) -> Option<Fates> {
    let mut fates = Fates::default();
    for stream in streams {
        if let Some(at) = stream.ended {
            fates.reset += usize::from(at >= since);
            continue;
        }
        let after = stream.echoes.partition_point(|at| *at < since);
        let heard = &stream.echoes[after.saturating_sub(1)..];
        let Some(last) = heard.last() else {
            continue;
        };
        let quiet = now.saturating_duration_since(*last);
        if quiet >= STALLED {
            // What had stalled before was counted then.
            fates.stalled += usize::from(*last + STALLED > since);
        } else if quiet > EVERY * 10 || *last < since {
            return None;
        } else {
            let gaps = heard.windows(2).map(|pair| pair[1] - pair[0]);
            fates.pauses.extend(gaps.max());
        }
    }
    Some(fates)
}

/// Streams until it is dropped.
#[derive(Debug)]
pub(super) struct Streaming {
    streams: Arc<Mutex<Vec<Stream>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Streaming {
    /// To these addresses in turn, from a client.
    pub(super) fn start(client: &Machine, addresses: &[Ipv4Addr]) -> Result<Self> {
        let to = addresses.iter().cycle().take(STREAMS);
        let to: Vec<SocketAddr> = to
            .map(|address| SocketAddr::new(IpAddr::V4(*address), PORT))
            .collect();
        let streams = Arc::new(Mutex::new(vec![Stream::default(); to.len()]));
        let (theirs, stop) = (Arc::clone(&streams), CancellationToken::new());
        let (halt, netns) = (stop.clone(), client.netns.clone());
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("stream".into())
            .spawn(move || {
                let runtime = netns::enter(&netns).and_then(|()| {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .context("a runtime for streams")
                });
                match runtime {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(all(to, theirs, halt));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("starting the thread that streams")?;
        started.recv().context("the thread that streams ended")??;
        Ok(Self {
            streams,
            stop,
            thread: Some(thread),
        })
    }

    /// Whether numbers come back over all of them.
    pub(super) fn flow(&self) -> bool {
        let now = Instant::now();
        let flows = |stream: &Stream| {
            let last = stream.echoes.last();
            stream.ended.is_none() && last.is_some_and(|at| now < *at + EVERY * 10)
        };
        self.streams.lock().iter().all(flows)
    }

    /// What befell them since, once that is certain.
    pub(super) fn fates(&self, since: Instant) -> Option<Fates> {
        fates(&self.streams.lock(), since, Instant::now())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there has said so already.
            let _ = thread.join();
        }
    }
}

async fn all(to: Vec<SocketAddr>, streams: Arc<Mutex<Vec<Stream>>>, stop: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    for (number, to) in to.into_iter().enumerate() {
        let streams = Arc::clone(&streams);
        tasks.spawn(async move {
            // Until a number has come back there is no stream that could be lost.
            while streams.lock()[number].echoes.is_empty() {
                let _ = stream(to, |at| streams.lock()[number].echoes.push(at)).await;
                tokio::time::sleep(EVERY).await;
            }
            streams.lock()[number].ended = Some(Instant::now());
        });
    }
    // Dropped with the tasks, the connections end by a reset.
    stop.cancelled().await;
}

/// Sends numbers and tells of each that comes back, until it is not the one that is due.
async fn stream(to: SocketAddr, heard: impl Fn(Instant)) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    stream.set_zero_linger()?;
    let (mut read, mut write) = stream.split();
    let send = async {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0_u64.. {
            tick.tick().await;
            write.write_all(&number.to_be_bytes()).await?;
        }
        Ok(())
    };
    let receive = async {
        for number in 0_u64.. {
            if read.read_u64().await? != number {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            heard(Instant::now());
        }
        Ok(())
    };
    tokio::try_join!(send, receive).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    fn stream_of(start: Instant, echoes: impl IntoIterator<Item = u64>) -> Stream {
        Stream {
            echoes: echoes.into_iter().map(|time| at(start, time)).collect(),
            ended: None,
        }
    }

    #[test]
    fn a_pause_is_the_longest_time_between_two_numbers_since() {
        let start = Instant::now();
        // 500 ms long before, and 180 over the disturbance at 1,000.
        let echoes = [0, 500, 990, 1_170, 1_180, 1_200];
        let found = fates(
            &[stream_of(start, echoes)],
            at(start, 1_000),
            at(start, 1_210),
        );
        let expected = Fates {
            pauses: vec![Duration::from_millis(180)],
            ..Fates::default()
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn of_a_stream_that_is_silent_nothing_is_said_until_it_has_stalled() {
        let start = Instant::now();
        let silent = [stream_of(start, [0, 990])];
        let (since, later) = (at(start, 1_000), at(start, 990) + STALLED);
        assert_eq!(fates(&silent, since, at(start, 2_000)), None);
        let stalled = fates(&silent, since, later).unwrap();
        assert_eq!((stalled.pauses.len(), stalled.stalled), (0, 1));
        let again = fates(&silent, later, later + STALLED).unwrap();
        assert_eq!(again, Fates::default(), "it had stalled before");
    }

    #[test]
    fn a_reset_counts_once() {
        let start = Instant::now();
        let mut stream = stream_of(start, [0, 10]);
        stream.ended = Some(at(start, 30));
        let streams = [stream];
        let reset = |since| fates(&streams, at(start, since), at(start, 90)).unwrap();
        assert_eq!((reset(20).reset, reset(40)), (1, Fates::default()));
    }

    #[tokio::test]
    async fn what_comes_back_in_order_is_heard_and_anything_else_ends_the_stream() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut peer, _) = server.accept().await.unwrap();
            for _ in 0..3 {
                let number = peer.read_u64().await.unwrap();
                peer.write_u64(number).await.unwrap();
            }
            peer.write_u64(99).await.unwrap();
            // Open until the client is gone.
            let _ = peer.read_to_end(&mut Vec::new()).await;
        });
        let heard = std::cell::Cell::new(0);
        let error = stream(to, |_| heard.set(heard.get() + 1)).await;
        assert_eq!(heard.get(), 3);
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
}
