//! A listener: receives the frames of one protocol on one port and answers them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use landfall_wire::Mac;
use landfall_wire::{Answer, Buffer, Decision, Interest, Reason, buffer, decide};

use super::claimants::Claimants;
use super::counters::count;
use super::limit::{Meter, Sources};
use super::port::Port;
use super::state::Shared;
use super::{Event, Rate};
use crate::link::Protocol;
use crate::link::scheduling::{self, Rank};

/// Between two defences of one address (DEFEND_INTERVAL of RFC 5227 §1.1).
const DEFEND_AGAIN: Duration = Duration::from_secs(10);
/// After a failed read.
const RECOVER: Duration = Duration::from_millis(50);
/// The shortest wait for room: a flood wakes a listener a thousand times a second and not for every frame.
const BREATH: Duration = Duration::from_millis(1);
/// Of the frames that a listener may look at, those it may be woken for each by itself: all, until there is a flood.
const WAKES: u32 = 4;
/// And so many at once.
const WAKES_AT_ONCE: u32 = 200;
/// Longer frames are cut off, which the parser sees.
const FRAME: usize = 2_048;

/// The listeners of a port, each on a thread of its own. When this is dropped they answer no more, and end soon after.
pub(super) struct Listeners(Arc<AtomicBool>);

impl Listeners {
    /// Starts them.
    ///
    /// # Errors
    /// The operating system's, when it has no more threads.
    pub(super) fn start(shared: &Arc<Shared>, port: &Arc<Port>) -> io::Result<Self> {
        let listeners = Self(Arc::new(AtomicBool::new(false)));
        for (name, protocol) in [("arp", Protocol::Arp), ("ndp", Protocol::Ndp)] {
            let listener = Listener::new(Arc::clone(port), protocol, shared.settings.answers);
            let (shared, stopped) = (Arc::clone(shared), Arc::clone(&listeners.0));
            std::thread::Builder::new()
                .name(format!("{name}-{}", port.ifindex))
                .spawn(move || listener.run(&shared, &stopped))?;
        }
        Ok(listeners)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Listener {
    port: Arc<Port>,
    protocol: Protocol,
    frames: Meter,
    wakes: Meter,
    sources: Sources,
    /// Owned addresses only, so they stay as small as those are few.
    claimed: Claimants,
    defended: HashMap<IpAddr, Instant>,
}

impl Listener {
    fn new(port: Arc<Port>, protocol: Protocol, answers: Rate) -> Self {
        Self {
            port,
            protocol,
            frames: Meter::default(),
            wakes: Meter::default(),
            sources: Sources::new(answers),
            claimed: Claimants::default(),
            defended: HashMap::new(),
        }
    }

    /// Receives until it is stopped: nothing that is received ends it.
    fn run(mut self, shared: &Shared, stopped: &AtomicBool) {
        // Whatever is permitted: what it may take is bounded in any case.
        scheduling::raise(Rank::Answers);
        let port = Arc::clone(&self.port);
        let (mut frame, mut out) = ([0; FRAME], buffer());
        while !stopped.load(Ordering::Relaxed) {
            port.works(self.protocol);
            match self.receive(shared, &port, &mut frame) {
                Ok(None) => {}
                Ok(Some(length)) => {
                    let now = self.admitted(shared);
                    if !stopped.load(Ordering::Relaxed) {
                        self.handle(shared, &frame[..length], &mut out, now);
                    }
                }
                Err(error) => {
                    count(&port.counters.receive_errors);
                    tracing::debug!(ifindex = port.ifindex, %error, "reading a frame failed");
                    std::thread::sleep(RECOVER);
                }
            }
        }
    }

    /// Takes the next frame, or waits until there is one; in a flood not at once, so that it finds several then.
    fn receive(
        &mut self,
        shared: &Shared,
        port: &Port,
        frame: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let socket = port.socket(self.protocol);
        port.looks(self.protocol, true);
        if let Some(length) = socket.receive_now(frame)? {
            return Ok(Some(length));
        }
        port.looks(self.protocol, false);
        let wakes = Rate {
            burst: WAKES_AT_ONCE,
            ..shared.share().shared_by(WAKES)
        };
        if self.wakes.admit(wakes, Instant::now()).is_err() {
            std::thread::sleep(BREATH);
        }
        socket.wait()?;
        Ok(None)
    }

    /// Waits until there is room for one more frame; the time then.
    fn admitted(&mut self, shared: &Shared) -> Instant {
        loop {
            let now = Instant::now();
            match self.frames.admit(shared.share(), now) {
                Ok(()) => return now,
                Err(room) => std::thread::sleep((room - now).max(BREATH)),
            }
        }
    }

    /// The state stays as it is until the answer has left: who takes an address out of it waits for that.
    fn handle(&mut self, shared: &Shared, bytes: &[u8], out: &mut Buffer, now: Instant) {
        let state = shared.state.borrow();
        let (ifindex, mac) = (self.port.ifindex, self.port.mac);
        let interest = |address| state.interest((address, ifindex));
        let friend = |mac| match state.is_peer(mac) {
            true => Some(Reason::Peer),
            false => is_mine(shared, mac).then_some(Reason::OwnFrame),
        };
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
        if !shared.permit.allows() {
            return Err(Reason::SessionExpired);
        }
        if !self.sources.admit([answer.source, answer.asker], now) {
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
        if shared.permit.allows() && first_in(DEFEND_AGAIN, &mut self.defended, address, now) {
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
            let Some(mac) = self.claimed.told(address, mac, now) else {
                return;
            };
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
