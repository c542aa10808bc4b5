//! The admin port: `/livez`, `/readyz`, `/metrics`, `/debug/state`.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin port shows.
pub struct Admin {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub registry: Registry,
    /// Behind `/debug/state`: asked at every request.
    pub state: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Why the admin port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("--admin-address {address}: {source}; choose a free port of this host")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The server stopped by itself.
    #[error("admin port: {0}")]
    Serve(#[from] std::io::Error),
}

/// Serves the admin port until the token is cancelled.
///
/// # Errors
/// When the address cannot be bound, or the listener fails.
pub async fn serve(
    address: SocketAddr,
    admin: Admin,
    token: CancellationToken,
) -> Result<(), AdminError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| AdminError::Bind { address, source })?;
    axum::serve(listener, router(Arc::new(admin)))
        .with_graceful_shutdown(token.cancelled_owned())
        .await?;
    Ok(())
}

fn router(admin: Arc<Admin>) -> Router {
    let (readiness, metrics, state) = (admin.clone(), admin.clone(), admin);
    Router::new()
        .route("/livez", get(|| ready("ok\n")))
        .route(
            "/readyz",
            get(move || {
                let (is_ready, report) = readiness.readiness.report();
                let code = if is_ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                ready((code, report))
            }),
        )
        .route(
            "/metrics",
            get(move || {
                let mut text = String::new();
                ready(match encode(&mut text, &metrics.registry) {
                    Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
                    Err(error) => {
                        (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
                    }
                })
            }),
        )
        .route(
            "/debug/state",
            get(move || ready(axum::Json((state.state)()))),
        )
}
