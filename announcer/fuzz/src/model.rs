//! What of the announcer's `model` the annotation of a session is made of.

#[path = "../../src/model/announcer.rs"]
mod announcer;

pub use announcer::{Interface, XdpState};
