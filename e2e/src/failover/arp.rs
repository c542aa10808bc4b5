//! Asks by ARP on a raw socket, one address after the other, and notes who answers.
//!
//! An answer names an address but no question: it is taken for the answer to the last question before it. Questions
//! about one address are further apart than an answer takes.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_testbed::netns;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendmsg, socket,
};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;

use super::silence::{Mac, Sample};
use crate::lab::plan::Machine;

/// What was asked about one address, and what came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) samples: Vec<Sample>,
    pub(super) answers: Vec<(Instant, Mac)>,
}

type All = Arc<Mutex<BTreeMap<Ipv4Addr, Series>>>;

/// Asks until it is dropped.
#[derive(Debug)]
pub(super) struct Asking {
    all: All,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asking {
    /// Asks about every address in turn, `pause` after `pause`, from a client's `eth0`.
    pub(super) fn start(client: &Machine, addresses: &[Ipv4Addr], pause: Duration) -> Result<Self> {
        let asker = Asker::new(client, addresses, pause)?;
        let (all, stop) = (Arc::clone(&asker.all), Arc::new(AtomicBool::new(false)));
        let halt = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("arp".into())
            .spawn(move || asker.ask_until(&halt))
            .context("starting the thread that asks")?;
        Ok(Self {
            all,
            stop,
            thread: Some(thread),
        })
    }

    /// What is known about an address by now.
    pub(super) fn series(&self, address: Ipv4Addr) -> Series {
        self.all.lock().get(&address).cloned().unwrap_or_default()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has said so already.
            let _ = thread.join();
        }
    }
}

struct Asker {
    socket: OwnedFd,
    link: LinkAddr,
    mac: Mac,
    own: Ipv4Addr,
    addresses: Vec<Ipv4Addr>,
    pause: Duration,
    all: All,
}

impl Asker {
    fn new(client: &Machine, addresses: &[Ipv4Addr], pause: Duration) -> Result<Self> {
        let (socket, link) = netns::inside(&client.netns, open)??;
        let mac = link
            .addr()
            .context("eth0 of a client has no hardware address")?;
        Ok(Self {
            socket,
            link,
            mac,
            own: client.ipv4,
            addresses: addresses.to_vec(),
            pause,
            all: Arc::default(),
        })
    }

    fn ask_until(&self, stop: &AtomicBool) {
        let mut due = Instant::now();
        for address in self.addresses.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.listen_until(due);
            // What was missed while this thread was kept from running is not made up for.
            due = due.max(Instant::now() - self.pause) + self.pause;
            let question = question(self.mac, self.own, *address);
            let sent = Instant::now();
            let parts = [IoSlice::new(&question)];
            let done = sendmsg(
                self.socket.as_raw_fd(),
                &parts,
                &[],
                MsgFlags::empty(),
                Some(&self.link),
            );
            // A question that could not leave is no probe.
            if done.is_ok() {
                let sample = Sample {
                    sent,
                    answered: false,
                };
                self.all
                    .lock()
                    .entry(*address)
                    .or_default()
                    .samples
                    .push(sample);
            }
        }
    }

    fn listen_until(&self, due: Instant) {
        loop {
            while self.take_one() {}
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not, the next look says what there is.
            let _ = ppoll(&mut ready, Some(TimeSpec::from_duration(left)), None);
        }
    }

    /// Takes in a frame, if there is one.
    fn take_one(&self) -> bool {
        let mut frame = [0; 2_048];
        let length = match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EINTR) => return true,
            Err(_) => return false,
        };
        if let Some((address, mac)) = answer(&frame[..length], self.own) {
            let now = Instant::now();
            if let Some(series) = self.all.lock().get_mut(&address) {
                if let Some(sample) = series.samples.last_mut() {
                    sample.answered = true;
                }
                series.answers.push((now, mac));
            }
        }
        true
    }
}

/// A packet socket in this namespace, and the link address of its `eth0` to send from.
fn open() -> Result<(OwnedFd, LinkAddr)> {
    let link = nix::ifaddrs::getifaddrs()
        .context("listing interfaces")?
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .context("a client without eth0")?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("opening a packet socket")?;
    Ok((socket, link))
}

/// Who has `target`? Tell `own`.
fn question(mac: Mac, own: Ipv4Addr, target: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // ARP; Ethernet, IPv4, their lengths; a request.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&own.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// The address and who has it, if a frame is an ARP reply to `own`.
fn answer(frame: &[u8], own: Ipv4Addr) -> Option<(Ipv4Addr, Mac)> {
    let body = frame.get(12..42)?;
    let reply = body[..10] == [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2];
    let to_us = body[26..30] == own.octets();
    let mac: Mac = body[10..16].try_into().ok()?;
    let address: [u8; 4] = body[16..20].try_into().ok()?;
    (reply && to_us).then_some((address.into(), mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

    #[test]
    fn the_answer_to_a_question_is_understood_and_the_question_itself_is_none() {
        let (asker, owner) = ([2, 0, 0, 0, 0xc0, 1], [2, 0, 0, 0, 16, 1]);
        let mut frame = question(asker, OWN, VIP);
        assert_eq!(answer(&frame, OWN), None);
        frame[21] = 2;
        frame[22..28].copy_from_slice(&owner);
        frame[28..32].copy_from_slice(&VIP.octets());
        frame[38..42].copy_from_slice(&OWN.octets());
        assert_eq!(answer(&frame, OWN), Some((VIP, owner)));
        assert_eq!(answer(&frame, VIP), None, "told to somebody else");
        assert_eq!(answer(&frame[..41], OWN), None, "cut short");
    }
}
