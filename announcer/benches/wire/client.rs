//! The client: a thread in a namespace of its own that asks, while the thread it was called from answers.

use std::time::{Duration, Instant};

use landfall_announcer::link::{PacketSocket, Protocol};

use crate::questions::Family;
use crate::segment::{self, Segment};

/// Before an answer that has not come counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of it.
pub(crate) struct Run<T> {
    pub(crate) outcome: T,
    /// Time the calling thread, the responder's, has spent on a processor.
    pub(crate) cpu: Duration,
}

/// Runs `body` with the client's socket, and measures this thread meanwhile.
pub(crate) async fn run<T: Send + 'static>(
    segment: &Segment,
    protocol: Protocol,
    body: impl AsyncFnOnce(&mut Client) -> T + Send + 'static,
) -> Run<T> {
    let namespace = segment.name("client");
    let (done, finished) = tokio::sync::oneshot::channel();
    let cpu = thread_cpu();
    std::thread::spawn(move || {
        segment::enter(&namespace);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let outcome = runtime.block_on(async {
            let index = nix::net::if_::if_nametoindex("eth0").unwrap();
            let socket = PacketSocket::open(index, protocol).unwrap();
            let mut client = Client {
                socket,
                buffer: [0; 2_048],
            };
            body(&mut client).await
        });
        assert!(done.send(outcome).is_ok());
    });
    let outcome = finished.await.unwrap();
    Run {
        outcome,
        cpu: thread_cpu() - cpu,
    }
}

/// Time this thread, and nobody else, has spent on a processor.
pub(crate) fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

pub(crate) struct Client {
    socket: PacketSocket,
    buffer: [u8; 2_048],
}

impl Client {
    /// Asks the questions of the lists in turn, at a pace, each as often as `rate` a second, and awaits each answer: the
    /// microseconds it took, by list.
    pub(crate) async fn ask<const N: usize>(
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
                self.answer(family, Some(question)).await;
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
    pub(crate) async fn flood(
        &mut self,
        family: Family,
        questions: &[Vec<u8>],
        window: usize,
    ) -> Duration {
        let began = Instant::now();
        let mut answered = 0;
        for (number, question) in questions.iter().enumerate() {
            while number - answered >= window {
                self.answer(family, None).await;
                answered += 1;
            }
            self.socket.send(question).unwrap();
        }
        while answered < questions.len() {
            self.answer(family, None).await;
            answered += 1;
        }
        began.elapsed()
    }

    async fn answer(&mut self, family: Family, question: Option<&[u8]>) {
        loop {
            let received = self.socket.receive(&mut self.buffer);
            let length = tokio::time::timeout(PATIENCE, received)
                .await
                .expect("an answer was lost")
                .unwrap();
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
