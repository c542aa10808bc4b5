//! The Gateway API: Gateways of our classes get addresses, Services made for others' Gateways are lent what those say.
//!
//! ```text
//! watches ─► known ─ decide (landfall_gateway) ─┬─► a holder ─► index ─► plan ─► records ─► status of the Gateway
//!            (its world)                        └─► status of classes and routes
//! ```
//!
//! Pure: it carries nothing out. The cache hands Gateways on to the index, `routes` writes what is said of classes and
//! routes, the dispatcher what is said of Gateways. It is no data plane: what is served goes into the records, and the
//! announcers do it. The API need not be installed: its kinds are looked for again and again.
//!
//! Invariants: a Gateway's status has one writer, the dispatcher, which writes it after the records and before what is
//! left goes, as it does for Services; nothing is written of a Gateway of another controller; entries of other
//! controllers in a route's status stay as they are.

pub mod infrastructure;
mod known;
pub mod lender;
pub mod status;

pub use infrastructure::Marks;
pub use known::{Known, LiveRecord, LiveRoute, Subject};
pub use landfall_crds::gateway_api::Gateway;
pub use lender::{Lender, believed, owning};
