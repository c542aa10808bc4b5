//! The tests of other files once more, with the program for received packets at TC ingress instead of XDP: what comes of
//! every packet is the same to the byte, but for the padding behind a reset, which TC cuts off.
//!
//! Each file brings its own `support`, which asks by the name of this crate which program is meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::duplicate_mod,
    reason = "a test that cannot go on fails, and each file has its support"
)]

#[path = "changes.rs"]
mod changes;
#[path = "coming_and_going.rs"]
mod coming_and_going;
#[path = "connections.rs"]
mod connections;
#[path = "director.rs"]
mod director;
#[path = "duties.rs"]
mod duties;
#[path = "echo.rs"]
mod echo;
#[path = "errors.rs"]
mod errors;
#[path = "passing.rs"]
mod passing;
#[path = "refusing.rs"]
mod refusing;
#[path = "samples.rs"]
mod samples;
#[path = "segment.rs"]
mod segment;
