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
        address: SocketAddr,
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_tells_whether_the_process_lives_is_ready_and_what_it_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::waiting_for(&["caches"]);
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("landfall_tries", "Tries", counter);
        let admin = Admin {
            readiness: readiness.clone(),
            registry,
            state: Box::new(|| serde_json::json!({"addresses": 3})),
        };
        let server = axum::serve(listener, router(Arc::new(admin)));
        tokio::spawn(server.into_future());
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
        let waiting = get(address, "/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.contains("[-]caches: starting"));
        readiness.ready("caches");
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains(OPENMETRICS) && metrics.contains("landfall_tries_total 0"));
        assert!(
            get(address, "/debug/state")
                .await
                .contains("\"addresses\":3")
        );
    }
}
