//! Random histories against a real kube-apiserver: what `histories.rs` plays with a model, a few
//! times with the real thing, real clients and real watches; and with an API server that fails.
//!
//! 3 histories of each kind by default; `LANDFALL_API_HISTORIES=n` plays more,
//! `LANDFALL_API_SEED=n` others.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the shared support serves two binaries")]

mod check;
mod faults;
mod play;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod witness;

use play::Play;

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Plays histories with so many controllers, all of which believe to lead.
async fn histories(test: &str, controllers: usize) {
    let seed = number("LANDFALL_API_SEED", 1);
    for history in 0..number("LANDFALL_API_HISTORIES", 3) {
        let Some(play) = Play::start(test, seed, history, controllers).await else {
            return;
        };
        play.through().await;
    }
}

#[tokio::test]
async fn nobody_moves_without_asking_on_a_real_api_server() {
    histories("nobody_moves_without_asking_on_a_real_api_server", 1).await;
}

#[tokio::test]
async fn two_controllers_that_both_believe_to_lead_do_no_harm_on_a_real_api_server() {
    let test = "two_controllers_that_both_believe_to_lead_do_no_harm_on_a_real_api_server";
    histories(test, 2).await;
}
