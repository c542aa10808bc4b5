//! A listener whose cost is bounded: so many connections, each so long, each with a request so large.
//!
//! Every connection carries one request. What it has sent is held in one buffer of bounded size; a
//! body is never read.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::slots::Slots;

/// How long a request may take to arrive, a handshake before it included.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long a connection may last.
const LIFETIME: Duration = Duration::from_secs(15);
/// How large a request may be.
const REQUEST: usize = 16 * 1024;
/// What the kernel keeps of a connection that nobody reads.
const RECEIVE_BUFFER: u32 = 32 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 512;
/// After an error of accepting: descriptors have run out, and come back.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds `address`. The unspecified IPv6 address stands for both families, and for IPv4 alone where
/// the kernel has no other.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = listen(address);
    if bound.is_err() && address.ip() == std::net::Ipv6Addr::UNSPECIFIED {
        let v4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
        return listen(v4).or(bound);
    }
    bound
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether an address is this host's alone: nobody comes from it over a network.
pub(super) fn is_here(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Accepts connections until the token is cancelled; `answer` serves one. Peers that are `here` have
/// slots of their own.
pub(super) async fn accept<F>(
    listener: TcpListener,
    token: CancellationToken,
    here: fn(SocketAddr) -> bool,
    answer: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Mutex::new(Slots::<CancellationToken>::default()));
    let dropped = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "admin port: accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let end = CancellationToken::new();
        let (slot, gone) = slots.lock().enter(peer.ip(), here(peer), end.clone());
        if let Some(gone) = gone {
            gone.cancel();
            let dropped = dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Each power of two: what a flood says of itself is bounded too.
            if dropped.is_power_of_two() {
                tracing::warn!(
                    %peer,
                    dropped,
                    "admin port: all connections are in use; the oldest of whoever has most is dropped"
                );
            }
        }
        let served = answer(stream, peer);
        let slots = Arc::clone(&slots);
        connections.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                _ = tokio::time::timeout(LIFETIME, served) => {}
            }
            slots.lock().leave(slot);
        });
    }
}

/// Bounds what may come before a request: a handshake, say.
pub(super) async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(ARRIVAL, work).await?
}

/// Serves one request.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
) {
    let router = router.layer(from_fn(without_a_body));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .max_buf_size(REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin port: connection");
    }
}

/// Only what asks: nothing here takes anything in.
async fn without_a_body(request: Request, next: Next) -> Response {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    let length = request.headers().get(header::CONTENT_LENGTH);
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length != "0");
    match (asks, has_body) {
        (false, _) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        (true, true) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        (true, false) => next.run(request).await,
    }
}
