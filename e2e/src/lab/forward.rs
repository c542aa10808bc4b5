//! The way from the host's loopback to the API server of a lab that was left up, for people's own `kubectl`.
//!
//! A socket belongs to the namespace in which it was made: the listener is made outside, then the process enters the
//! hub, and what it dials from then on it dials there.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use landfall_testbed::netns;

use super::plan::{API_PORT, API_SERVER};

/// What it prints once it listens.
pub const READY: &str = "listening";

/// Forwards until it is killed.
pub fn forward(hub: &str, port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("listening on 127.0.0.1:{port}"))?;
    listener.set_nonblocking(true)?;
    netns::enter(hub)?;
    println!("{READY}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut near, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A connection that breaks is its client's to report.
                if let Ok(mut far) = tokio::net::TcpStream::connect((API_SERVER, API_PORT)).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    })
}
