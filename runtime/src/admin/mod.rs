//! The admin port and the metrics port.
//!
//! ```text
//! --admin-address    /livez /readyz            everybody: ok or not, no more
//!                    the same with detail,
//!                    /metrics /debug/state     connections of this host to itself
//! --metrics-address  /metrics                  HTTPS, for whom the API server lets in
//!
//! server ◄── slots    who may be connected     access ◄── cache   who may read
//! ```
//!
//! Invariant: whatever strangers send, memory is bounded, and the kubelet's probes are answered.

mod access;
mod cache;
mod server;
mod slots;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use kube::Client;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;
use access::Access;
use server::is_here;
use tls::Acceptor;
pub use tls::{CertificateFiles, TlsError};

/// The check of `/readyz` that says whether metrics are served.
const METRICS: &str = "metrics";

/// Between two attempts to bind the metrics port.
const AGAIN: Duration = Duration::from_secs(10);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
pub struct Admin {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub registry: Registry,
    /// Behind `/debug/state`: asked at every request.
    pub state: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Where it is shown, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The admin port.
    pub address: SocketAddr,
    /// The metrics port; none is opened without.
    pub metrics: Option<Metrics>,
}

/// The metrics port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is guarded.
    pub guard: Guard,
}

/// How the metrics port is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// HTTPS, and the API server is asked who may read. Without files the certificate is made at the
    /// start; files are read again when they change.
    Secure(Option<CertificateFiles>),
    /// Plain HTTP for everybody.
    Plain,
}

/// Why a port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address cannot be bound.
    #[error("{flag} {address}: {source}; choose a free port of this host")]
    Bind {
        /// The flag that gave it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, AdminError> {
    server::bind(address).map_err(|source| AdminError::Bind {
        flag,
        address,
        source,
    })
}

/// Serves both ports until the token is cancelled. `client` asks the API server who may read metrics.
///
/// # Errors
/// When the admin port cannot be bound, or the certificate cannot be used.
pub async fn serve(
    settings: Settings,
    admin: Admin,
    client: Client,
    token: CancellationToken,
) -> Result<(), AdminError> {
    let admin = Arc::new(admin);
    let listener = bind("--admin-address", settings.address)?;
    let metrics = match settings.metrics {
        Some(metrics) => Some((metrics.address, guard(&metrics, &admin, client)?)),
        None => None,
    };
    let scraped = async {
        let Some((address, (acceptor, router))) = metrics else {
            return;
        };
        let bound = token.run_until_cancelled(bound(address, &admin.readiness));
        if let Some(listener) = bound.await {
            scrapes(listener, acceptor, router, token.clone()).await;
        }
    };
    tokio::join!(probes(listener, &admin, token.clone()), scraped);
    Ok(())
}

/// Binds the metrics port, again and again: what the process is for does not wait for its figures.
async fn bound(address: SocketAddr, readiness: &Readiness) -> TcpListener {
    loop {
        match bind("--metrics-address", address) {
            Ok(listener) => {
                readiness.ready(METRICS);
                return listener;
            }
            Err(error) => {
                tracing::warn!(%error, "metrics are not served; tried again in {AGAIN:?}");
                readiness.ready_without(METRICS, error.to_string());
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// The admin port.
async fn probes(listener: TcpListener, admin: &Arc<Admin>, token: CancellationToken) {
    let (open, local) = (open(admin), local(admin));
    server::accept(listener, token, is_here, |stream, peer| {
        let is_local = is_here(peer) && stream.local_addr().is_ok_and(is_here);
        server::serve(
            stream,
            if is_local {
                local.clone()
            } else {
                open.clone()
            },
        )
    })
    .await;
}

/// The metrics port.
async fn scrapes(
    listener: TcpListener,
    acceptor: Option<Acceptor>,
    router: Router,
    token: CancellationToken,
) {
    server::accept(listener, token, is_here, |stream, peer| {
        let acceptor = acceptor.as_ref().map(Acceptor::current);
        let router = router.clone();
        async move {
            let Some(acceptor) = acceptor else {
                return server::serve(stream, router).await;
            };
            match server::in_time(acceptor.accept(stream)).await {
                Ok(stream) => server::serve(stream, router).await,
                Err(error) => tracing::debug!(%peer, %error, "metrics port: handshake"),
            }
        }
    })
    .await;
}

fn guard(
    metrics: &Metrics,
    admin: &Arc<Admin>,
    client: Client,
) -> Result<(Option<Acceptor>, Router), TlsError> {
    let router = metrics_of(admin);
    match &metrics.guard {
        Guard::Plain => Ok((None, router)),
        Guard::Secure(files) => {
            let acceptor = Acceptor::new(files.clone(), metrics.address.ip())?;
            let access = Arc::new(Access::new(client, "/metrics"));
            let checked = from_fn(move |request: Request, next: Next| {
                let access = Arc::clone(&access);
                async move {
                    match access.check(request.headers()).await {
                        Ok(()) => next.run(request).await,
                        Err(code) => code.into_response(),
                    }
                }
            });
            Ok((Some(acceptor), router.layer(checked)))
        }
    }
}

/// What everybody may ask: whether it lives, whether it is ready.
fn open(admin: &Arc<Admin>) -> Router {
    let admin = Arc::clone(admin);
    Router::new().route("/livez", get(async || "ok\n")).route(
        "/readyz",
        get(async move || match admin.readiness.report().0 {
            true => (StatusCode::OK, "ok\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ok\n"),
        }),
    )
}

/// What this host may ask too.
fn local(admin: &Arc<Admin>) -> Router {
    let (readiness, state) = (Arc::clone(admin), Arc::clone(admin));
    metrics_of(admin)
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async move || match readiness.readiness.report() {
                (true, report) => (StatusCode::OK, report),
                (false, report) => (StatusCode::SERVICE_UNAVAILABLE, report),
            }),
        )
        .route(
            "/debug/state",
            get(async move || axum::Json((state.state)())),
        )
}

fn metrics_of(admin: &Arc<Admin>) -> Router {
    let admin = Arc::clone(admin);
    Router::new().route("/metrics", get(async move || metrics(&admin.registry)))
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
