//! A listener: receives the frames of one protocol on one port and answers them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Event;
use super::counters::count;
use super::limit::{Meter, Sources};
use super::port::Port;
use super::state::Shared;
use crate::link::{Mac, Protocol};
use crate::wire::{Answer, Buffer, Decision, Interest, Reason, buffer, decide};

/// Between two reports of one address.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// Between two defences of one address (DEFEND_INTERVAL of RFC 5227 §1.1).
const DEFEND_AGAIN: Duration = Duration::from_secs(10);
/// After a failed read.
const RECOVER: Duration = Duration::from_millis(50);
/// Longer frames are cut off, which the parser sees.
const FRAME: usize = 2_048;

pub(super) struct Listener {
    shared: Arc<Shared>,
    port: Arc<Port>,
    protocol: Protocol,
    frames: Meter,
    sources: Sources,
    /// Owned addresses only, so they stay as small as those are few.
    reported: HashMap<IpAddr, Instant>,
    defended: HashMap<IpAddr, Instant>,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>, port: Arc<Port>, protocol: Protocol) -> Self {
        let sources = Sources::new(shared.settings.answers);
        Self {
            shared,
            port,
            protocol,
            frames: Meter::default(),
            sources,
            reported: HashMap::new(),
            defended: HashMap::new(),
        }
    }

    /// Receives until it is dropped: nothing that is received ends it.
    pub(super) async fn run(mut self) {
        let port = Arc::clone(&self.port);
        let (mut frame, mut out) = ([0; FRAME], buffer());
        loop {
            match port.socket(self.protocol).receive(&mut frame).await {
                Ok(length) => {
                    let mut now = Instant::now();
                    while let Err(room) = self.frames.admit(self.shared.share(), now) {
                        tokio::time::sleep_until(room.into()).await;
                        now = Instant::now();
                    }
                    self.handle(&frame[..length], &mut out, now);
                }
                Err(error) => {
                    count(&self.port.counters.receive_errors);
                    tracing::debug!(ifindex = port.ifindex, %error, "reading a frame failed");
                    tokio::time::sleep(RECOVER).await;
                }
            }
        }
    }

    fn handle(&mut self, bytes: &[u8], out: &mut Buffer, now: Instant) {
        let port = &self.port;
        let decision = {
            let state = self.shared.state.borrow();
            let interest = |address| state.interest((address, port.ifindex));
            let friend = |mac| state.is_peer(mac) || self.is_mine(mac);
            decide(bytes, port.mac, interest, friend, out)
        };
        let outcome = match decision {
            Decision::Answer(answer) => self.answer(&answer, out, now),
            Decision::Claim {
                address,
                mac,
                interest,
            } => {
                // Counted by what the address is to us.
                self.report(address, mac, interest, now);
                return;
            }
            Decision::Ignored(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => self.port.counters.answered(self.protocol),
            Err(reason) => {
                tracing::trace!(
                    ifindex = self.port.ifindex,
                    reason = reason.label(),
                    "frame ignored"
                );
                self.port.counters.ignored(reason);
            }
        }
    }

    fn answer(&mut self, answer: &Answer, out: &Buffer, now: Instant) -> Result<(), Reason> {
        if !self.shared.alive(now) {
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
    fn defend(&mut self, address: IpAddr, now: Instant) {
        if self.shared.alive(now) && first_in(DEFEND_AGAIN, &mut self.defended, address, now) {
            self.port.announce(address);
            count(&self.port.counters.defended);
        }
    }

    /// Whether another interface of this node has the address: two on one segment hear each other.
    fn is_mine(&self, mac: Mac) -> bool {
        self.shared
            .links
            .borrow()
            .links
            .values()
            .any(|link| link.mac == Some(mac))
    }

    fn report(&mut self, address: IpAddr, mac: Mac, interest: Interest, now: Instant) {
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
            self.defend(address, now);
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
        let _ = self.shared.events.send(event);
    }
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
