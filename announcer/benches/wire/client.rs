//! The client: a thread in a namespace of its own that asks.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use landfall_announcer::link::{PacketSocket, Protocol};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::questions::Family;
use crate::segment::{self, Cpu, Segment};

/// Before an answer that has not come counts as lost, in milliseconds.
const PATIENCE: u16 = 5_000;

/// What came of it.
pub(crate) struct Run<T> {
    pub(crate) outcome: T,
    /// Time the threads in the node's namespace have spent on a processor.
    pub(crate) cpu: Duration,
}

/// Runs `body` with the client's socket, and measures the node meanwhile, in whose namespace the caller is.
pub(crate) async fn run<T: Send + 'static>(
    segment: &Segment,
    protocol: Protocol,
    body: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> Run<T> {
    let namespace = segment.name("client");
    let (done, finished) = tokio::sync::oneshot::channel();
    let cpu = Cpu::now();
    std::thread::spawn(move || {
        segment::enter(&namespace);
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let mut client = Client {
            socket: PacketSocket::open(index, protocol).unwrap(),
            buffer: [0; 2_048],
        };
        assert!(done.send(body(&mut client)).is_ok());
    });
    Run {
        outcome: finished.await.unwrap(),
        cpu: cpu.elapsed(),
    }
}

pub(crate) struct Client {
    socket: PacketSocket,
    buffer: [u8; 2_048],
}

impl Client {
    /// Asks the questions of the lists in turn, at a pace, each as often as `rate` a second, and awaits each answer: the
    /// microseconds it took, by list.
    pub(crate) fn ask<const N: usize>(
        &mut self,
        family: Family,
        lists: &[Vec<Vec<u8>>; N],
        rate: u32,
    ) -> [Vec<f64>; N] {
        let mut latencies = [const { Vec::new() }; N];
        let mut pace = Pace::new(rate * u32::try_from(N).unwrap());
        for number in 0..lists[0].len() {
            for (list, latencies) in lists.iter().zip(&mut latencies) {
                let question = &list[number];
                pace.wait();
                let sent = Instant::now();
                self.socket.send(question).unwrap();
                self.answer(family, Some(question));
                latencies.push(sent.elapsed().as_nanos() as f64 / 1_000.0);
            }
        }
        latencies
    }

    /// Sends questions nobody will answer, at a pace.
    pub(crate) fn shout(&self, questions: &[Vec<u8>], rate: u32) {
        let mut pace = Pace::new(rate);
        for question in questions {
            pace.wait();
            self.socket.send(question).unwrap();
        }
    }

    /// Keeps so many questions under way until all are answered: how long that took.
    pub(crate) fn flood(
        &mut self,
        family: Family,
        questions: &[Vec<u8>],
        window: usize,
    ) -> Duration {
        let began = Instant::now();
        let mut answered = 0;
        for (number, question) in questions.iter().enumerate() {
            while number - answered >= window {
                self.answer(family, None);
                answered += 1;
            }
            self.socket.send(question).unwrap();
        }
        while answered < questions.len() {
            self.answer(family, None);
            answered += 1;
        }
        began.elapsed()
    }

    fn answer(&mut self, family: Family, question: Option<&[u8]>) {
        loop {
            let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut readable, PollTimeout::from(PATIENCE)).unwrap();
            assert_eq!(ready, 1, "an answer was lost");
            let length = self.socket.receive(&mut self.buffer).unwrap().unwrap();
            if (family.answers)(&self.buffer[..length], question) {
                return;
            }
        }
    }
}

struct Pace {
    interval: Duration,
    turn: Instant,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate,
            turn: Instant::now(),
        }
    }

    fn wait(&mut self) {
        self.turn += self.interval;
        std::thread::sleep(self.turn.saturating_duration_since(Instant::now()));
    }
}
