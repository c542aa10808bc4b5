//! Open connections, kept open: each asks over and over, and what becomes of it is counted. A connection belongs to the
//! Pod that answered it first; what a change in the cluster does to those that stay is seen here and nowhere else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_testbed::netns;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// One answer takes no longer, or the connection has died without a word.
const PATIENCE: Duration = Duration::from_secs(4);
/// So many of the broken ones are named.
const BROKEN: usize = 10;
/// Between the two questions of a connection that is closed after them.
const BETWEEN: Duration = Duration::from_millis(50);

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was never opened.
    Refused,
    /// It is open, and this Pod answers.
    Open(String),
    /// The other side closed it.
    Closed,
    /// It was reset.
    Reset,
    /// A question was not answered.
    Silent,
    /// Another Pod answered in the middle.
    Moved,
}

/// Whom to hold on to, and how.
#[derive(Clone, Debug)]
pub struct Grip {
    /// The namespace to ask from.
    pub netns: String,
    /// Whom to ask.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: u16,
    /// The first of the local ports they use, one each; none: any.
    pub ports: Option<u16>,
    /// The time between two questions of one connection.
    pub every: Duration,
    /// After two answers it is closed, and the next one opened from its port.
    pub anew: bool,
}

/// By connection, what became of it.
type Fates = BTreeMap<u16, Seen>;

/// What became of a connection.
#[derive(Clone, Debug)]
struct Seen {
    fate: Fate,
    at: Instant,
    /// From which port to which Pod, and how often the port was used before: in words, of one that broke.
    what: String,
}

/// Connections that are held until this is dropped; they end with a reset, so that their ports can be used again at once.
#[derive(Debug)]
pub struct Holding {
    fates: Arc<Mutex<Fates>>,
    opened: Arc<AtomicU64>,
    connections: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Holding {
    /// Opens them.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn start(grip: Grip) -> Result<Self> {
        let fates = Arc::<Mutex<Fates>>::default();
        let (theirs, stop) = (Arc::clone(&fates), CancellationToken::new());
        let opened = Arc::<AtomicU64>::default();
        let count = Arc::clone(&opened);
        let (halt, connections) = (stop.clone(), grip.connections);
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("hold".into())
            .spawn(move || {
                let runtime = netns::enter(&grip.netns).and_then(|()| {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .context("a runtime for connections")
                });
                match runtime {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(hold_all(grip, theirs, count, halt));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("starting the thread that holds connections")?;
        started
            .recv()
            .context("the thread that holds connections ended")??;
        Ok(Self {
            fates,
            opened,
            connections,
            stop,
            thread: Some(thread),
        })
    }

    /// Whether each has been answered since then, or never will be again.
    #[must_use]
    pub fn settled_since(&self, then: Instant) -> bool {
        let fates = self.fates.lock();
        let known = |seen: &Seen| !matches!(seen.fate, Fate::Open(_)) || seen.at > then;
        fates.len() == usize::from(self.connections) && fates.values().all(known)
    }

    /// How many there are of each fate, in words for a transcript.
    #[must_use]
    pub fn said(&self) -> String {
        let opened = self.opened.load(Ordering::Relaxed);
        format!(
            "{}{opened} opened in all\n",
            said(&self.fates.lock(), Instant::now())
        )
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there has said so already.
            let _ = thread.join();
        }
    }
}

fn said(fates: &Fates, now: Instant) -> String {
    let broken: Vec<&Seen> = fates
        .values()
        .filter(|seen| !seen.what.is_empty())
        .collect();
    let fates: Vec<&Fate> = fates.values().map(|seen| &seen.fate).collect();
    let count = |wanted: fn(&Fate) -> bool| fates.iter().filter(|fate| wanted(fate)).count();
    let mut text = format!(
        "open={} refused={} closed={} reset={} silent={} moved={}\n",
        count(|fate| matches!(fate, Fate::Open(_))),
        count(|fate| *fate == Fate::Refused),
        count(|fate| *fate == Fate::Closed),
        count(|fate| *fate == Fate::Reset),
        count(|fate| *fate == Fate::Silent),
        count(|fate| *fate == Fate::Moved),
    );
    let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
    for fate in fates {
        if let Fate::Open(pod) = fate {
            *pods.entry(pod).or_default() += 1;
        }
    }
    for (pod, count) in pods {
        text.push_str(&format!("{pod} holds {count}\n"));
    }
    for seen in broken.iter().take(BROKEN) {
        let ago = now.saturating_duration_since(seen.at).as_secs_f32();
        text.push_str(&format!("{}, {ago:.1} s ago\n", seen.what));
    }
    text
}

async fn hold_all(
    grip: Grip,
    fates: Arc<Mutex<Fates>>,
    opened: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..grip.connections {
        let (grip, fates, opened) = (grip.clone(), Arc::clone(&fates), Arc::clone(&opened));
        tasks.spawn(async move {
            let note = |fate, what| {
                let at = Instant::now();
                drop(fates.lock().insert(number, Seen { fate, at, what }));
            };
            let open = |fate| note(fate, String::new());
            let port = grip.ports.and_then(|first| first.checked_add(number));
            let mut round = 0_u32;
            loop {
                opened.fetch_add(1, Ordering::Relaxed);
                if let Some(broken) = hold(&grip, port, round, open).await {
                    let what = format!("connection {number} {broken}, after {round} others");
                    return note(broken.fate, what);
                }
                round = round.wrapping_add(1);
            }
        });
    }
    stop.cancelled().await;
    tasks.shutdown().await;
}

/// How a connection broke.
struct Broken {
    fate: Fate,
    /// Its own port, once it was open.
    port: Option<u16>,
    /// How many questions were answered before.
    answered: u32,
    /// By whom.
    pod: Option<String>,
}

impl Broken {
    fn with(self, fate: Fate) -> Self {
        Self { fate, ..self }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.unwrap_or_default();
        let pod = self.pod.as_deref().unwrap_or("nobody");
        let (fate, answered) = (&self.fate, self.answered);
        write!(
            f,
            "from port {port}: {fate:?} after {answered} answers of {pod}"
        )
    }
}

/// Asks until it breaks; how it broke, unless it was closed to be opened anew, or the server asked for that.
async fn hold(grip: &Grip, port: Option<u16>, round: u32, note: impl Fn(Fate)) -> Option<Broken> {
    let mut broken = Broken {
        fate: Fate::Refused,
        port,
        answered: 0,
        pod: None,
    };
    let opened = tokio::time::timeout(PATIENCE, open(grip.address, port)).await;
    let Ok(Ok(stream)) = opened else {
        return Some(broken);
    };
    broken.port = stream.local_addr().map(|own| own.port()).ok();
    let mut stream = BufReader::new(stream);
    loop {
        // Every second one is finished by the server, the others are torn down.
        let is_last = grip.anew && broken.pod.is_some();
        let close = is_last && round % 2 == 1;
        let asked = ask(&mut stream, grip.address, close);
        let is_asked_to_leave = match (tokio::time::timeout(PATIENCE, asked).await, &broken.pod) {
            (Err(_), _) => return Some(broken.with(Fate::Silent)),
            (Ok(Err(error)), _) => return Some(broken.with(fate_of(&error))),
            (Ok(Ok(answer)), Some(known)) if answer.pod != *known => {
                return Some(broken.with(Fate::Moved));
            }
            (Ok(Ok(answer)), _) => {
                note(Fate::Open(answer.pod.clone()));
                broken.answered += 1;
                broken.pod = Some(answer.pod);
                answer.closes && !close
            }
        };
        if close {
            let rest = &mut [0; 1];
            let ended = tokio::time::timeout(PATIENCE, stream.read(rest)).await;
            if !matches!(ended, Ok(Ok(0))) {
                return Some(broken.with(Fate::Silent));
            }
        }
        if is_last || is_asked_to_leave {
            drop(stream);
            tokio::time::sleep(grip.every).await;
            return None;
        }
        tokio::time::sleep(if grip.anew { BETWEEN } else { grip.every }).await;
    }
}

fn fate_of(error: &std::io::Error) -> Fate {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Fate::Closed,
        _ => Fate::Reset,
    }
}

async fn open(address: SocketAddr, port: Option<u16>) -> std::io::Result<TcpStream> {
    let (socket, any): (TcpSocket, IpAddr) = if address.is_ipv4() {
        (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into())
    } else {
        (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into())
    };
    if let Some(port) = port {
        // A port that was used a moment ago is used again: that is what is being tried.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(any, port))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_zero_linger()?;
    Ok(stream)
}

/// What was answered.
struct Answer {
    /// Who answered, as the body says, or a header of a server that has no body of its own.
    pod: String,
    /// `connection: close`: the server ends the connection in order after it.
    closes: bool,
}

/// One question over an open connection.
async fn ask(
    stream: &mut BufReader<TcpStream>,
    address: SocketAddr,
    close: bool,
) -> std::io::Result<Answer> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let question = format!("GET / HTTP/1.1\r\nHost: {address}\r\n{close}\r\n");
    stream.get_mut().write_all(question.as_bytes()).await?;
    let (mut length, mut named, mut closes) = (0, None, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "x-pod" => named = Some(format!("pod={value}")),
                "connection" => closes = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let text = String::from_utf8_lossy(&body);
    let pod = text
        .split_whitespace()
        .find(|word| word.starts_with("pod="));
    let pod = named.or_else(|| pod.map(str::to_owned));
    Ok(Answer {
        pod: pod.unwrap_or_else(|| "pod=?".to_owned()),
        closes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_counted_and_pods_named() {
        let now = Instant::now();
        let seen = |fate| Seen {
            fate,
            at: now,
            what: String::new(),
        };
        let broken = Broken {
            fate: Fate::Reset,
            port: Some(20_001),
            answered: 2,
            pod: Some("pod=a".into()),
        };
        let reset = Seen {
            what: broken.to_string(),
            ..seen(Fate::Reset)
        };
        let fates = [
            seen(Fate::Open("pod=a".into())),
            reset,
            seen(Fate::Open("pod=a".into())),
            seen(Fate::Moved),
        ];
        let text = said(&(0..).zip(fates).collect(), now);
        assert_eq!(
            text,
            "open=2 refused=0 closed=0 reset=1 silent=0 moved=1\npod=a holds 2\n\
             from port 20001: Reset after 2 answers of pod=a, 0.0 s ago\n"
        );
    }
}
