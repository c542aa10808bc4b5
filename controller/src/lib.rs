//! Landfall's IPAM controller: addresses for LoadBalancer Services.
//!
//! ```text
//! ipam      pure: the allocator; knows no client, no runtime and no clock
//! ```

pub mod ipam;
