//! `lab-echo`: a backend that tells who asked and who answered. HTTP/1.1 on one port, and, when asked for, plain echo
//! over TCP and UDP on others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// More than this is no request of ours.
const MOST_HEAD: u64 = 16 * 1024;
/// A client that says nothing for so long is hung up on.
const IDLE: Duration = Duration::from_secs(20 * 60);
/// How long it is not well after it was asked not to be.
const UNREADY: Duration = Duration::from_secs(5);

/// A backend that tells who asked and who answered.
#[derive(Debug, Parser)]
#[command(name = "lab-echo", version, about)]
struct Flags {
    /// HTTP: / answers in a line of text, /json in JSON, /healthz says ok, or 503 for five seconds after /unready
    #[arg(long, env = "ECHO_HTTP", default_value = "[::]:8080")]
    http: SocketAddr,
    /// Echo over TCP
    #[arg(long, env = "ECHO_TCP")]
    tcp: Option<SocketAddr>,
    /// Echo over UDP
    #[arg(long, env = "ECHO_UDP")]
    udp: Option<SocketAddr>,
    /// How long it serves on after SIGTERM: a Pod that drains
    #[arg(long, env = "ECHO_LINGER", value_parser = humantime::parse_duration, default_value = "0s")]
    linger: Duration,
    /// The Pod's name
    #[arg(long, env = "POD_NAME", default_value = "")]
    pod: String,
    /// The node's name
    #[arg(long, env = "NODE_NAME", default_value = "")]
    node: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let flags = Arc::new(Flags::parse());
    let mut terminate = signal(SignalKind::terminate())?;
    let http = TcpListener::bind(flags.http)
        .await
        .with_context(|| format!("listening on {}", flags.http))?;
    println!(
        "lab-echo {} on {}: http {}",
        flags.pod, flags.node, flags.http
    );
    if let Some(address) = flags.tcp {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        tokio::spawn(accept(listener, |mut stream, _| async move {
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.map(drop)
        }));
    }
    if let Some(address) = flags.udp {
        let socket = UdpSocket::bind(address)
            .await
            .with_context(|| format!("receiving on {address}"))?;
        tokio::spawn(echo_datagrams(socket));
    }
    let (linger, health) = (flags.linger, Arc::new(Health::default()));
    let serving = accept(http, move |stream, peer| {
        serve(stream, peer, Arc::clone(&flags), Arc::clone(&health))
    });
    let drained = async {
        terminate.recv().await;
        tokio::time::sleep(linger).await;
    };
    tokio::select! {
        () = serving => Ok(()),
        () = drained => Ok(()),
    }
}

/// Whether it says that it is well.
#[derive(Debug, Default)]
struct Health(Mutex<Option<Instant>>);

impl Health {
    /// Not for a while.
    fn fail(&self) {
        *self.0.lock() = Some(Instant::now() + UNREADY);
    }

    fn is_well(&self) -> bool {
        self.0.lock().is_none_or(|until| Instant::now() >= until)
    }
}

/// Hands every connection to a task of its own.
async fn accept<F, T>(listener: TcpListener, handle: F)
where
    F: Fn(TcpStream, SocketAddr) -> T,
    T: Future<Output = std::io::Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let talk = handle(stream, peer);
                // A connection that breaks is its client's to notice.
                tokio::spawn(async move {
                    let _ = talk.await;
                });
            }
            // Out of descriptors: let some connections end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = vec![0u8; 65_536];
    loop {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], peer).await;
        }
    }
}

/// What we need of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    forwarded_for: Option<String>,
    body: u64,
    close: bool,
}

/// Requests of one connection, until it is closed.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    flags: Arc<Flags>,
    health: Arc<Health>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let head = tokio::time::timeout(IDLE, read_head(&mut stream)).await;
        let Ok(Ok(Some(head))) = head else {
            return Ok(());
        };
        let request = parse(&head);
        if let Some(request) = &request {
            let mut body = (&mut stream).take(request.body);
            tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        }
        let close = request.as_ref().is_none_or(|request| request.close);
        let (status, kind, text) = answer(request.as_ref(), peer, &flags, &health);
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
            text.len()
        );
        let body = if request.is_some_and(|request| request.method == "HEAD") {
            ""
        } else {
            &text
        };
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The lines up to the empty one; none at the end of the connection or when there are too many.
async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    let mut limited = stream.take(MOST_HEAD);
    loop {
        let before = head.len();
        if limited.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
        if head[before..].trim_end().is_empty() && before > 0 {
            return Ok(Some(head));
        }
    }
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path, version) = (first.next()?, first.next()?, first.next()?);
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        close: version != "HTTP/1.1",
        ..Request::default()
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => request.forwarded_for = Some(value.to_owned()),
            "content-length" => request.body = value.parse().ok()?,
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            // Nobody sends us one; taking it for the next request would be worse than hanging up.
            "transfer-encoding" => return None,
            _ => {}
        }
    }
    Some(request)
}

fn answer(
    request: Option<&Request>,
    peer: SocketAddr,
    flags: &Flags,
    health: &Health,
) -> (&'static str, &'static str, String) {
    let Some(request) = request else {
        return ("400 Bad Request", "text/plain", "no request\n".into());
    };
    let path = request.path.split('?').next().unwrap_or_default();
    let forwarded = request.forwarded_for.as_deref().unwrap_or("-");
    // An IPv4 client of an IPv6 socket is still an IPv4 client.
    let from = peer.ip().to_canonical();
    match path {
        "/healthz" if health.is_well() => ("200 OK", "text/plain", "ok\n".into()),
        "/healthz" => ("503 Service Unavailable", "text/plain", "not well\n".into()),
        "/unready" => {
            health.fail();
            (
                "200 OK",
                "text/plain",
                format!("pod={} is not well\n", flags.pod),
            )
        }
        "/json" => {
            let value = json!({
                "pod": flags.pod, "node": flags.node, "from": from.to_string(), "port": peer.port(),
                "x-forwarded-for": request.forwarded_for, "path": request.path,
            });
            ("200 OK", "application/json", format!("{value}\n"))
        }
        _ => {
            let text = format!(
                "pod={} node={} from={from} x-forwarded-for={forwarded} path={}\n",
                flags.pod, flags.node, request.path
            );
            ("200 OK", "text/plain", text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_whom_it_was_forwarded_for() {
        let head = "GET /x?y HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.101\r\nContent-Length: 3\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!(request.path, "/x?y");
        assert_eq!(request.forwarded_for.as_deref(), Some("192.0.2.101"));
        assert_eq!((request.body, request.close), (3, false));
    }

    #[test]
    fn what_is_no_request_is_answered_with_400() {
        let flags = Flags::parse_from(["lab-echo"]);
        assert_eq!(parse("hello\r\n\r\n"), None);
        assert_eq!(
            answer(
                None,
                "192.0.2.1:1".parse().unwrap(),
                &flags,
                &Health::default()
            )
            .0,
            "400 Bad Request"
        );
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_shown_as_what_it_is() {
        let flags = Flags::parse_from(["lab-echo", "--pod=p", "--node=n"]);
        let request = parse("GET / HTTP/1.1\r\n\r\n").unwrap();
        let (_, _, text) = answer(
            Some(&request),
            "[::ffff:192.0.2.101]:4242".parse().unwrap(),
            &flags,
            &Health::default(),
        );
        assert_eq!(
            text,
            "pod=p node=n from=192.0.2.101 x-forwarded-for=- path=/\n"
        );
    }

    #[test]
    fn a_server_asked_to_be_unready_fails_its_health_check_and_serves_on() {
        let (flags, health) = (Flags::parse_from(["lab-echo"]), Health::default());
        let status = |path: &str| {
            let request = parse(&format!("GET {path} HTTP/1.1\r\n\r\n"));
            answer(
                request.as_ref(),
                "192.0.2.1:1".parse().unwrap(),
                &flags,
                &health,
            )
            .0
        };
        assert_eq!(status("/healthz"), "200 OK");
        assert_eq!(status("/unready"), "200 OK");
        assert_eq!(status("/healthz"), "503 Service Unavailable");
        assert_eq!(status("/"), "200 OK");
    }
}
