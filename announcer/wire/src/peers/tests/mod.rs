//! Golden frames, properties, and what a listener refuses. The golden bytes are the documentation's own and were made by
//! another program from its tables.

mod format;
mod golden;
mod listener;
mod rotation;

use std::time::Duration;

use super::{ClusterId, Frame, GROUP, Key, KeyRing, Listener, Speaker};
use crate::Mac;

const ME: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const DOCUMENTATION: &str = include_str!("../../../../../docs/reference/heartbeat.md");

fn cluster() -> ClusterId {
    ClusterId::of("00000000-0000-0000-0000-000000000001")
}

/// The bytes 0, 1, 2 and so on, from the documentation; others for other numbers.
fn secret(number: u8) -> Vec<u8> {
    (0..32).map(|byte| byte ^ number).collect()
}

fn key(number: u8) -> Key {
    Key::new(&secret(number)).unwrap()
}

fn ring(newest_first: &[u8]) -> KeyRing {
    let secrets: Vec<_> = newest_first.iter().map(|number| secret(*number)).collect();
    KeyRing::new(secrets.iter().map(Vec::as_slice)).unwrap()
}

/// One at the address [`PEER`], with the key 0.
fn listener() -> Listener {
    Listener::new(cluster(), ring(&[0]))
}

/// The frames that say it, from [`ME`].
fn said(speaker: &mut Speaker, frame: &Frame<'_>, to: Mac, key: &Key) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    speaker
        .say(frame, to, ME, key, |bytes| frames.push(bytes.to_vec()))
        .unwrap();
    frames
}

/// One frame to all, made with the key 0.
fn one(speaker: &mut Speaker, frame: &Frame<'_>) -> Vec<u8> {
    let mut frames = said(speaker, frame, GROUP, &key(0));
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

const NOW: Duration = Duration::from_secs(100);
