//! The data path: a director and a deliverer at XDP or TC ingress, and the reverse of delivery at TC egress.
//!
//! ```text
//! frame ─► headers ─► frontend ─► Maglev slot ─┬─ elsewhere: direct   (new Ethernet addresses, TX)
//!             │            │                   └─ here:      deliver  (new destination, PASS)
//!             └────────────┴──► anything else: PASS, untouched, counted
//! ```
//!
//! What falls to nobody is refused: a SYN goes back as a reset. An echo request to an address that has a frontend goes back as
//! its answer.
//!
//! It decides nothing that can be decided in user space: tables, ids and MAC addresses arrive in
//! maps. Parsing and arithmetic are in `landfall-bpf-lb-common`, where the host tests them.
//!
//! Invariant: a packet is changed only after everything that can fail has succeeded.
#![no_std]

mod connections;
mod course;
mod deliver;
mod direct;
mod echo;
mod egress;
mod errors;
mod family;
mod forget;
mod frame;
mod hook;
mod ingress;
mod maps;
mod packet;
mod refuse;
mod replies;
mod sender;
mod shared;
mod tables;
mod turnover;
mod watch;
mod words;

pub use egress::reply;
pub use frame::Frame;
pub use ingress::{receive_frame, receive_tc, receive_xdp, receive_xdp_frags};
pub use maps::sampling;
pub use shared::feed_xdp;
pub use watch::{Fate, Seen, Unwatched, Watch};
