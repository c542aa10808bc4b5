//! Asks by opening a TCP connection, again and again: what an application of the client's would meet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_testbed::netns;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::silence::Sample;
use crate::lab::plan::Machine;

/// A connection that is not open by then is lost. The kernel repeats a SYN after a second: this is before it.
pub(super) const PATIENCE: Duration = Duration::from_millis(900);

/// Connections in the order they were begun; of those under way nothing is known.
type Begun = Arc<Mutex<Vec<(Instant, Option<bool>)>>>;

/// Opens connections until it is dropped.
#[derive(Debug)]
pub(super) struct Connecting {
    begun: Begun,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Connecting {
    /// To one address, `pause` after `pause`.
    pub(super) fn start(client: &Machine, to: SocketAddr, pause: Duration) -> Result<Self> {
        let (begun, stop) = (Begun::default(), Arc::new(AtomicBool::new(false)));
        let (theirs, halt) = (Arc::clone(&begun), Arc::clone(&stop));
        let netns = client.netns.clone();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("connect".into())
            .spawn(move || {
                let runtime = netns::enter(&netns).and_then(|()| {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .context("a runtime for connections")
                });
                match runtime {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(connect_until(to, pause, theirs, &halt));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("starting the thread that connects")?;
        started.recv().context("the thread that connects ended")??;
        Ok(Self {
            begun,
            stop,
            thread: Some(thread),
        })
    }

    /// Those whose fate is known, up to the first that is still under way: it may yet be lost.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let begun = self.begun.lock();
        let known = begun.iter().map_while(|(sent, fate)| {
            Some(Sample {
                sent: *sent,
                answered: (*fate)?,
            })
        });
        known.collect()
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has said so already.
            let _ = thread.join();
        }
    }
}

async fn connect_until(to: SocketAddr, pause: Duration, begun: Begun, stop: &AtomicBool) {
    let mut tick = tokio::time::interval(pause);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let begun = Arc::clone(&begun);
        let number = {
            let mut begun = begun.lock();
            begun.push((Instant::now(), None));
            begun.len() - 1
        };
        tokio::spawn(async move {
            let opened = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await;
            if let Ok(Ok(stream)) = &opened {
                // Closed by a reset: a thousand a second would otherwise use up the client's ports.
                let _ = stream.set_zero_linger();
            }
            begun.lock()[number].1 = Some(matches!(opened, Ok(Ok(_))));
        });
    }
}
