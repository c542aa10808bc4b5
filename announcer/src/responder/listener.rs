//! A listener: receives the frames of one protocol on one port and answers them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::counters::count;
use super::limit::{Meter, Sources};
use super::port::Port;
use super::state::Shared;
use super::{Event, Rate};
use crate::link::{Mac, Protocol, Stop};
use crate::wire::{Answer, Buffer, Decision, Interest, Reason, buffer, decide};

/// Between two reports of one address.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// Between two defences of one address (DEFEND_INTERVAL of RFC 5227 §1.1).
const DEFEND_AGAIN: Duration = Duration::from_secs(10);
/// After a failed read.
const RECOVER: Duration = Duration::from_millis(50);
/// Longer frames are cut off, which the parser sees.
const FRAME: usize = 2_048;

/// The listeners of a port, each on a thread of its own. They end when this is dropped.
pub(super) struct Listeners {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Starts them.
    ///
    /// # Errors
    /// The operating system's, when it has no more descriptors or threads.
    pub(super) fn start(shared: &Arc<Shared>, port: &Arc<Port>) -> io::Result<Self> {
        let mut listeners = Self {
            stop: Arc::new(Stop::new()?),
            threads: Vec::new(),
        };
        for (name, protocol) in [("arp", Protocol::Arp), ("ndp", Protocol::Ndp)] {
            let listener = Listener::new(Arc::clone(port), protocol, shared.settings.answers);
            let (shared, stop) = (Arc::clone(shared), Arc::clone(&listeners.stop));
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{}", port.ifindex))
                .spawn(move || listener.run(&shared, &stop))?;
            listeners.threads.push(thread);
        }
        Ok(listeners)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.stop();
        for thread in self.threads.drain(..) {
            // An error is a panic, which has been said.
            let _ = thread.join();
        }
    }
}

struct Listener {
    port: Arc<Port>,
    protocol: Protocol,
    frames: Meter,
    sources: Sources,
    /// Owned addresses only, so they stay as small as those are few.
    reported: HashMap<IpAddr, Instant>,
    defended: HashMap<IpAddr, Instant>,
}

impl Listener {
    fn new(port: Arc<Port>, protocol: Protocol, answers: Rate) -> Self {
        Self {
            port,
            protocol,
            frames: Meter::default(),
            sources: Sources::new(answers),
            reported: HashMap::new(),
            defended: HashMap::new(),
        }
    }

    /// Receives until it is stopped: nothing that is received ends it.
    fn run(mut self, shared: &Shared, stop: &Stop) {
        let port = Arc::clone(&self.port);
        let (mut frame, mut out) = ([0; FRAME], buffer());
        loop {
            match port.socket(self.protocol).receive(&mut frame, stop) {
                Ok(None) => return,
                Ok(Some(length)) => {
                    let mut now = Instant::now();
                    while let Err(room) = self.frames.admit(shared.share(), now) {
                        if stop.pause(room - now) {
                            return;
                        }
                        now = Instant::now();
                    }
                    self.handle(shared, &frame[..length], &mut out, now);
                }
                Err(error) => {
                    count(&port.counters.receive_errors);
                    tracing::debug!(ifindex = port.ifindex, %error, "reading a frame failed");
                    if stop.pause(RECOVER) {
                        return;
                    }
                }
            }
        }
    }

    /// The state stays as it is until the answer has left: who takes an address out of it waits for that.
    fn handle(&mut self, shared: &Shared, bytes: &[u8], out: &mut Buffer, now: Instant) {
        let state = shared.state.borrow();
        let (ifindex, mac) = (self.port.ifindex, self.port.mac);
        let interest = |address| state.interest((address, ifindex));
        let friend = |mac| state.is_peer(mac) || is_mine(shared, mac);
        let outcome = match decide(bytes, mac, interest, friend, out) {
            Decision::Answer(answer) => self.answer(shared, &answer, out, now),
            Decision::Claim {
                address,
                mac,
                interest,
            } => {
                // Counted by what the address is to us.
                self.report(shared, address, mac, interest, now);
                return;
            }
            Decision::Ignored(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => self.port.counters.answered(self.protocol),
            Err(reason) => {
                tracing::trace!(ifindex, reason = reason.label(), "frame ignored");
                self.port.counters.ignored(reason);
            }
        }
    }

    fn answer(
        &mut self,
        shared: &Shared,
        answer: &Answer,
        out: &Buffer,
        now: Instant,
    ) -> Result<(), Reason> {
        if !shared.alive(now) {
            return Err(Reason::SessionExpired);
        }
        if !self.sources.admit(answer.asker, now) {
            return Err(Reason::RateLimited);
        }
        self.port
            .socket(self.protocol)
            .send(&out[..answer.length])
            .map_err(|_| Reason::SendFailed)
    }

    /// Says once that the address is here and not again for a while (RFC 5227 §2.4): two who both insist do not fill the
    /// segment.
    fn defend(&mut self, shared: &Shared, address: IpAddr, now: Instant) {
        if shared.alive(now) && first_in(DEFEND_AGAIN, &mut self.defended, address, now) {
            self.port.announce(address);
            count(&self.port.counters.defended);
        }
    }

    fn report(
        &mut self,
        shared: &Shared,
        address: IpAddr,
        mac: Mac,
        interest: Interest,
        now: Instant,
    ) {
        let ifindex = self.port.ifindex;
        let event = if interest == Interest::Probing {
            count(&self.port.counters.contested);
            Event::ProbeAnswered {
                address,
                ifindex,
                mac,
            }
        } else {
            count(&self.port.counters.conflicts);
            self.defend(shared, address, now);
            if !first_in(REPORT_AGAIN, &mut self.reported, address, now) {
                return;
            }
            Event::Conflict {
                address,
                ifindex,
                mac,
            }
        };
        // Nobody listening is no failure.
        let _ = shared.events.send(event);
    }
}

/// Whether another interface of this node has the address: two on one segment hear each other.
fn is_mine(shared: &Shared, mac: Mac) -> bool {
    shared
        .links
        .borrow()
        .links
        .values()
        .any(|link| link.mac == Some(mac))
}

/// Whether nothing has been noted about the address for so long; then it is noted.
fn first_in(
    pause: Duration,
    noted: &mut HashMap<IpAddr, Instant>,
    address: IpAddr,
    now: Instant,
) -> bool {
    let recent = |last: &Instant| now.duration_since(*last) < pause;
    if noted.get(&address).is_some_and(recent) {
        return false;
    }
    noted.retain(|_, last| recent(last));
    noted.insert(address, now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_noted_once_in_a_pause_and_what_is_past_is_forgotten() {
        let (a, b): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let (start, pause, mut noted) = (Instant::now(), DEFEND_AGAIN, HashMap::new());
        assert!(first_in(pause, &mut noted, a, start));
        assert!(!first_in(pause, &mut noted, a, start + pause / 2));
        assert!(first_in(pause, &mut noted, b, start + pause / 2));
        assert!(first_in(pause, &mut noted, a, start + pause));
        assert!(first_in(pause, &mut noted, a, start + pause * 2));
        assert_eq!(noted.len(), 1);
    }
}
