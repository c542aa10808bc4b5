//! Landfall's IPAM controller: addresses for LoadBalancer Services and Gateways.
//!
//! ```text
//!  API server ──watch──► state ──► dispatch ──► service ──► LoadBalancerIP, Service status, Event
//!                          │ index (pure) ├───► pool ─────► pool status, finalizer
//!                          │ gateway      └───► routes ───► status of GatewayClasses and routes
//!                          └──────────► metrics, /debug/state
//! ```
//!
//! [`landfall_ipam`] decides and knows nothing of clients; everything else carries out what it says.
//! Invariant: the record comes before the status that names its address, and goes after it.

pub mod args;
pub mod cache;
mod contest;
pub mod context;
pub mod dispatch;
pub mod gateway;
mod managed;
pub mod metrics;
mod orphans;
mod peer_key;
pub mod pool;
mod routes;
pub mod run;
pub mod service;
pub mod settings;
pub mod state;
pub mod survey;
mod tell;
pub mod undecodable;
pub mod validate;
mod watch;
