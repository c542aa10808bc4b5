//! A client of the API server that notices a dead connection although nothing is said on it.
//!
//! A watch may hear nothing for a minute, and rightly. Where what lies between forgets a connection (a node's table of
//! tracked connections that was flushed, an API server's machine that is gone), it hears nothing either, and everything that
//! happens meanwhile is missed. So the kernel asks the other end of a quiet connection whether it still knows of it.

use std::time::Duration;

use anyhow::Context as _;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

/// A connection that was quiet for so long is asked after, and again and again after the same time.
const QUIET: Duration = Duration::from_secs(3);
/// So often, before it is given up: what was sent and not acknowledged for as long ends it as well.
const ASKED: u32 = 3;
const CONNECT: Duration = Duration::from_secs(3);
/// Longer than a watch call lasts.
const READ: Duration = Duration::from_secs(65);

/// Makes a client, with connections of its own.
///
/// # Errors
/// What is wrong with the configuration.
pub fn connect(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    // Or how long a connection lay in the pool would count for the answer to the next request on it.
    config.reset_reader_on_write = true;
    made(config).context("making the API client")
}

fn made(config: Config) -> anyhow::Result<Client> {
    if config.proxy_url.is_some() {
        // It is the proxy's connection that matters then.
        return Ok(Client::try_from(config)?);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(QUIET));
    tcp.set_keepalive_interval(Some(QUIET));
    tcp.set_keepalive_retries(Some(ASKED));
    tcp.set_tcp_user_timeout(Some(QUIET * (ASKED + 1)));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let retries = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(Builder::new(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Whether the kernel has a timer for asking after the connection to that port, and when it is due.
    fn asks_in(port: u16) -> Option<Duration> {
        let all = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        all.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (to, state, timer) = (fields.get(2)?, fields.get(3)?, fields.get(5)?);
            let (what, when) = timer.split_once(':')?;
            let is_it = to.ends_with(&format!(":{port:04X}")) && *state == "01" && what == "02";
            // In hundredths of a second.
            let when = u64::from_str_radix(when, 16).ok().filter(|_| is_it)?;
            Some(Duration::from_millis(when * 10))
        })
    }

    #[tokio::test]
    async fn a_watch_that_hears_nothing_is_asked_after_within_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let client = connect(config).unwrap();
        let request = tokio::spawn(async move { client.apiserver_version().await });
        let (_accepted, _) = listener.accept().await.unwrap();
        let asked = async {
            let mut every = tokio::time::interval(Duration::from_millis(10));
            loop {
                every.tick().await;
                if let Some(asks_in) = asks_in(address.port()) {
                    return asks_in;
                }
            }
        };
        let asks_in = tokio::time::timeout(Duration::from_secs(5), asked).await;
        assert!(asks_in.expect("nobody asks") <= QUIET);
        request.abort();
    }
}
