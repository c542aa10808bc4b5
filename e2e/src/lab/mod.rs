//! lab
pub mod state;
