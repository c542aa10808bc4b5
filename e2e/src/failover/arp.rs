//! Asks by ARP on a raw socket, one address after the other, and notes who answers.
//!
//! Every question is asked in the name of another address of 198.18.0.0/16, of the range for benchmarks: the answer repeats
//! that, and so tells which question it answers, however late it comes.

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

/// A question without an answer for so long has none.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// The first address to ask in the name of, and how many there are.
const NAMES: (u32, u32) = (0xc612_0000, 1 << 16);

/// What was asked about one address, and what came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) samples: Vec<Sample>,
    pub(crate) answers: Vec<(Instant, Mac)>,
}

impl Series {
    /// Up to the first question that may yet be answered.
    fn settled(&self, now: Instant) -> Self {
        let open = |sample: &Sample| !sample.answered && now < sample.sent + PATIENCE;
        let samples = self.samples.iter().copied();
        Self {
            samples: samples.take_while(|sample| !open(sample)).collect(),
            answers: self.answers.clone(),
        }
    }
}

type All = Arc<Mutex<BTreeMap<Ipv4Addr, Series>>>;

/// The question asked in a name: its address, and which of the questions about that.
type Asked = BTreeMap<u32, (Ipv4Addr, usize)>;

/// Asks until it is dropped.
#[derive(Debug)]
pub(crate) struct Asking {
    all: All,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asking {
    /// Asks about every address in turn, `pause` after `pause`, from a client's `eth0`.
    pub(crate) fn start(client: &Machine, addresses: &[Ipv4Addr], pause: Duration) -> Result<Self> {
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
    pub(crate) fn series(&self, address: Ipv4Addr) -> Series {
        let all = self.all.lock();
        all.get(&address)
            .map(|series| series.settled(Instant::now()))
            .unwrap_or_default()
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
            addresses: addresses.to_vec(),
            pause,
            all: Arc::default(),
        })
    }

    fn ask_until(&self, stop: &AtomicBool) {
        let mut due = Instant::now();
        let mut asked = Asked::new();
        for (name, address) in (0..NAMES.1).cycle().zip(self.addresses.iter().cycle()) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.listen_until(due, &asked);
            // What was missed while this thread was kept from running is not made up for.
            due = due.max(Instant::now() - self.pause) + self.pause;
            let question = question(self.mac, Ipv4Addr::from(NAMES.0 + name), *address);
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
                let mut all = self.all.lock();
                let samples = &mut all.entry(*address).or_default().samples;
                asked.insert(name, (*address, samples.len()));
                samples.push(sample);
            }
        }
    }

    fn listen_until(&self, due: Instant, asked: &Asked) {
        loop {
            while self.take_one(asked) {}
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
    fn take_one(&self, asked: &Asked) -> bool {
        let mut frame = [0; 2_048];
        let length = match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EINTR) => return true,
            Err(_) => return false,
        };
        if let Some((name, address, mac)) = answer(&frame[..length])
            && let Some((of, number)) = asked.get(&u32::from(name).wrapping_sub(NAMES.0))
            && *of == address
            && let Some(series) = self.all.lock().get_mut(&address)
        {
            if let Some(sample) = series.samples.get_mut(*number) {
                sample.answered = true;
            }
            series.answers.push((Instant::now(), mac));
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

/// Who has `target`? Tell `name`.
fn question(mac: Mac, name: Ipv4Addr, target: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // ARP; Ethernet, IPv4, their lengths; a request.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&name.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// In whose name was asked, about which address, and who has it, if a frame is an ARP reply.
fn answer(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, Mac)> {
    let body = frame.get(12..42)?;
    let reply = body[..10] == [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2];
    let mac: Mac = body[10..16].try_into().ok()?;
    let address: [u8; 4] = body[16..20].try_into().ok()?;
    let name: [u8; 4] = body[26..30].try_into().ok()?;
    reply.then_some((name.into(), address.into(), mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

    #[test]
    fn the_answer_to_a_question_says_which_and_the_question_itself_is_none() {
        let (asker, owner) = ([2, 0, 0, 0, 0xc0, 1], [2, 0, 0, 0, 16, 1]);
        let mut frame = question(asker, NAME, VIP);
        assert_eq!(answer(&frame), None);
        frame[21] = 2;
        frame[22..28].copy_from_slice(&owner);
        frame[28..32].copy_from_slice(&VIP.octets());
        frame[38..42].copy_from_slice(&NAME.octets());
        assert_eq!(answer(&frame), Some((NAME, VIP, owner)));
        assert_eq!(answer(&frame[..41]), None, "cut short");
    }

    #[test]
    fn a_question_that_may_yet_be_answered_is_not_lost() {
        let start = Instant::now();
        let sample = |milliseconds: u64, answered| Sample {
            sent: start + Duration::from_millis(milliseconds),
            answered,
        };
        let series = Series {
            samples: vec![
                sample(0, false),
                sample(10, true),
                sample(600, false),
                sample(610, true),
            ],
            answers: Vec::new(),
        };
        let settled = |at: u64| {
            series
                .settled(start + Duration::from_millis(at))
                .samples
                .len()
        };
        assert_eq!((settled(400), settled(700), settled(1_200)), (0, 2, 4));
    }
}
