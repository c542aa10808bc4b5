//! The keys everything else is found by: objects of the API by the names `crds` gives them, what the election goes by by
//! its own.

pub use landfall_crds::{PolicyName, ServiceKey};
pub use landfall_election::{NodeName, SessionId, Version};
